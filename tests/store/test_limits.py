"""Full disks, full maps and read-only folders: a clear error, and nothing lost."""

import multiprocessing
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sola_scale.errors import StoreFullError, StoreReadOnlyError
from sola_scale.store import LmdbStore
from sola_scale.store.testing import Clock, sample_edit, sample_manifest
from sola_scale.store.testing.samples import state_of

NOBODY = 65534


def in_child(work: Callable[[], None]) -> None:
    """Run something in a forked child, whose limits and user may be changed, and pass its failure on."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_full_map(tmp_path: Path) -> None:
    """A full map raises StoreFullError; what was there is untouched, purging and revoking still go, more room helps."""
    with LmdbStore.create(tmp_path, sample_manifest(), map_size=1 << 20, clock=Clock()) as store:
        store.write([sample_edit(n, size=2000) for n in range(1, 100)])
        before = state_of(store)
        with pytest.raises(StoreFullError, match="map_size"):
            store.write([sample_edit(n, size=2000) for n in range(100, 400)])
        assert state_of(store) == before
        store.revoke([1])
    with LmdbStore.open(tmp_path) as store:
        assert len(store.write([sample_edit(n, size=2000) for n in range(100, 400)]).edit_ids) == 300
        assert store.verify().ok


def test_full_disk(tmp_path: Path) -> None:
    """A write that the disk has no room for raises StoreFullError, is not there, and succeeds once there is room."""

    def work() -> None:
        with LmdbStore.create(tmp_path, sample_manifest(), clock=Clock()) as store:
            store.write([sample_edit(n, size=2000) for n in range(1, 50)])
            before = state_of(store)
            size = (tmp_path / "edits.lmdb").stat().st_size
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30_000, hard))
            for _ in range(3):
                with pytest.raises(StoreFullError, match="no space left"):
                    store.write([sample_edit(n, size=2000) for n in range(50, 150)])
            assert state_of(store) == before
            with pytest.raises(StoreFullError):
                store.put_blob("calibration/1", bytes(1_000_000))
            resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
            with pytest.raises(StoreFullError):
                store.backup(tmp_path / "copy")
            assert list((tmp_path / "copy").iterdir()) == []
            with pytest.raises(StoreFullError):
                store.compact()
            assert state_of(store) == before
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            store.write([sample_edit(n, size=2000) for n in range(50, 150)])
            assert store.verify().ok
        with LmdbStore.open(tmp_path) as store:
            assert store.next_edit_id == 150
            assert store.verify().ok

    in_child(work)


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A store in a folder that its reader cannot write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    with LmdbStore.create(folder / "store", sample_manifest()) as store:
        store.write([sample_edit(1), sample_edit(2)])
    for path in (folder / "store").iterdir():
        path.chmod(0o444)
    (folder / "store").chmod(0o555)
    yield folder / "store"
    (folder / "store").chmod(0o755)
    shutil.rmtree(folder)


def test_read_only_folder(read_only_folder: Path) -> None:
    """A store in a folder that cannot be written opens for reading, and says what to do when opened for writing."""

    def work() -> None:
        if os.getuid() == 0:
            os.setuid(NOBODY)
        with pytest.raises(StoreReadOnlyError, match="read_only=True"):
            LmdbStore.open(read_only_folder)
        with LmdbStore.open(read_only_folder, read_only=True) as store:
            assert store.record(2).target == "Town 2"
            assert store.verify().ok
            assert store.refresh() == 1
            assert "no reader locks" in store.readers()
            with pytest.raises(StoreReadOnlyError):
                store.revoke([1])
            with pytest.raises(StoreReadOnlyError):
                store.backup(read_only_folder / "copy")
        with pytest.raises(StoreReadOnlyError):
            LmdbStore.create(read_only_folder / "new", sample_manifest())

    in_child(work)
