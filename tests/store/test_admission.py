"""Which stores open: their format, their upgrade, the model they belong to."""

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest

from sola_scale.errors import (
    CorruptRecordError,
    FingerprintMismatchError,
    FormatVersionError,
    StoreExistsError,
    StoreNotFoundError,
)
from sola_scale.store import LmdbStore, admission
from sola_scale.store.bookkeeping import write_manifest
from sola_scale.store.tables import Table
from sola_scale.store.testing import sample_edit, sample_manifest
from sola_scale.store.testing.samples import told
from sola_scale.store.transaction import WriteTransaction
from sola_scale.store.values import pack_id

V1 = Path(__file__).parent / "data" / "v1"


def rewrite_manifest(folder: Path, **changes: object) -> None:
    """Change the manifest behind the store's back."""
    with LmdbStore.open(folder) as store, store._write() as txn:
        write_manifest(txn, msgspec.structs.replace(store.manifest, **changes))


def test_v1_store_reads_as_it_did(tmp_path: Path) -> None:
    """The committed store of format 1 still opens, verifies and tells all it told when it was made."""
    shutil.copytree(V1, tmp_path / "v1")
    with LmdbStore.open(tmp_path / "v1") as store:
        assert told(store) == json.loads((V1 / "expected.json").read_text())
        assert store.verify().damages == []
        store.write([sample_edit(50, calibration=2)])


def test_v1_store_reads_from_where_it_lies(tmp_path: Path) -> None:
    """The fixture also opens for reading only, and reading leaves its file as it is."""
    shutil.copytree(V1, tmp_path / "v1")
    before = (tmp_path / "v1" / "edits.lmdb").read_bytes()
    with LmdbStore.open(tmp_path / "v1", read_only=True) as store:
        assert store.next_edit_id == 43
    assert (tmp_path / "v1" / "edits.lmdb").read_bytes() == before


def test_missing_store(tmp_path: Path) -> None:
    """Opening a folder without a store says so and makes nothing."""
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(StoreNotFoundError, match="there is no store"):
            LmdbStore.open(folder)
    assert list(tmp_path.iterdir()) == []


def test_creating_twice(tmp_path: Path) -> None:
    """A folder that holds a store is not overwritten."""
    with LmdbStore.create(tmp_path, sample_manifest()) as store:
        store.write([sample_edit(1)])
    with pytest.raises(StoreExistsError):
        LmdbStore.create(tmp_path, sample_manifest())
    with LmdbStore.open(tmp_path) as store:
        assert store.next_edit_id == 2


def test_manifest_is_kept(tmp_path: Path) -> None:
    """What the store was created with is read back, with format and time filled in."""
    manifest = sample_manifest(recipe={"rank": 1})
    with LmdbStore.create(tmp_path, manifest, clock=lambda: 77) as store:
        assert store.manifest == msgspec.structs.replace(manifest, created_at=77)
    with LmdbStore.open(tmp_path) as store:
        assert store.manifest.layout == {"layers": [26, 29]}
        assert store.manifest.created_at == 77


def test_other_model_is_refused(tmp_path: Path) -> None:
    """A fingerprint that differs is refused, and the text names each part that does."""
    LmdbStore.create(tmp_path, sample_manifest()).close()
    same = sample_manifest().fingerprint
    LmdbStore.open(tmp_path, fingerprint=same).close()
    with pytest.raises(FingerprintMismatchError, match="another tokenizer and layout") as caught:
        LmdbStore.open(tmp_path, fingerprint={**same, "tokenizer": "t2", "layout": "l2"})
    assert "t1 in the store, t2 given" in str(caught.value)
    LmdbStore.open(tmp_path, fingerprint=same).close()


def test_newer_format_is_refused(tmp_path: Path) -> None:
    """A store of a newer format is refused and left alone."""
    LmdbStore.create(tmp_path, sample_manifest()).close()
    rewrite_manifest(tmp_path, format_version=2)
    for read_only in (False, True):
        with pytest.raises(FormatVersionError, match="format 2"):
            LmdbStore.open(tmp_path, read_only=read_only)


@pytest.fixture
def later_version(monkeypatch: pytest.MonkeyPatch) -> Callable[[WriteTransaction], None]:
    """This package as it may be one day, with format 2 and a step to it."""

    def step(txn: WriteTransaction) -> None:
        txn.put(Table.SETTINGS, b"upgraded", msgspec.msgpack.encode(True))

    monkeypatch.setattr(admission, "FORMAT_VERSION", 2)
    monkeypatch.setitem(admission.MIGRATIONS, 1, step)
    return step


@pytest.mark.usefixtures("later_version")
def test_older_format_is_upgraded_when_opened_for_writing(tmp_path: Path) -> None:
    """Opening an older store for writing runs the migration once; reading only asks for that."""
    shutil.copytree(V1, tmp_path / "v1")
    with pytest.raises(FormatVersionError, match="open it once for writing"):
        LmdbStore.open(tmp_path / "v1", read_only=True)
    with LmdbStore.open(tmp_path / "v1") as store:
        assert store.manifest.format_version == 2
        assert store.settings()["upgraded"] is True
        assert store.record(1).prompt == "The capital of land 1 is"
    with LmdbStore.open(tmp_path / "v1", read_only=True) as store:
        assert store.manifest.format_version == 2


@pytest.mark.usefixtures("later_version")
def test_failing_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails leaves the store of the old format, whole."""

    def failing(txn: WriteTransaction) -> None:
        txn.delete(Table.STATES, pack_id(1))
        raise InterruptedError

    monkeypatch.setitem(admission.MIGRATIONS, 1, failing)
    shutil.copytree(V1, tmp_path / "v1")
    with pytest.raises(InterruptedError):
        LmdbStore.open(tmp_path / "v1")
    monkeypatch.undo()
    with LmdbStore.open(tmp_path / "v1") as store:
        assert told(store) == json.loads((V1 / "expected.json").read_text())


def test_file_that_is_no_store(tmp_path: Path) -> None:
    """Any other file of that name is refused by a clear error, and left as it is."""
    for number, content in enumerate((b"", b"hello", bytes(8192), b"\xff" * 100_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "edits.lmdb").write_bytes(content)
        with pytest.raises(CorruptRecordError):
            LmdbStore.open(folder)
        assert (folder / "edits.lmdb").read_bytes() == content


def test_foreign_lmdb_file(tmp_path: Path) -> None:
    """A sound LMDB file that another program made is no store, and stays as it is."""
    with lmdb.open(str(tmp_path / "edits.lmdb"), subdir=False, max_dbs=2, lib_version=0) as foreign:
        foreign.open_db(b"theirs")
    content = (tmp_path / "edits.lmdb").read_bytes()
    for _ in range(2):
        with pytest.raises(CorruptRecordError, match="not a store"):
            LmdbStore.open(tmp_path)
    assert (tmp_path / "edits.lmdb").read_bytes() == content


def test_forgotten_store_gives_its_lock_back(tmp_path: Path) -> None:
    """A store that was never closed lets go of the lock when it is collected, and what it wrote is there."""
    store = LmdbStore.create(tmp_path, sample_manifest())
    store.write([sample_edit(1)])
    del store
    gc.collect()
    with LmdbStore.open(tmp_path) as again:
        assert again.record(1).target == "Town 1"
        again.write([sample_edit(2)])
