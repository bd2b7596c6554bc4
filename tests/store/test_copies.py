"""Backup, compaction and purge: what the files hold afterwards."""

import threading
from pathlib import Path

import pytest

from sola_scale.errors import StoreExistsError
from sola_scale.store import LmdbStore, files
from sola_scale.store.testing import sample_edit, sample_keys
from sola_scale.store.testing.samples import sample_weights, state_of

SECRET = "Jocasta Featherstonehaugh of Little Snoring"


def bytes_of(folder: Path) -> bytes:
    """All bytes of all files of a store."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("revoked_first", [False, True])
def test_purged_bytes_are_gone_after_compaction(store: LmdbStore, revoked_first: bool) -> None:
    """After purge and compaction no file holds the edit's text, weights or keys; its neighbours are whole."""
    store.write([sample_edit(n, size=900) for n in range(1, 200)])
    keys, weights = sample_keys(999, 2), sample_weights(999, 900)
    secret = sample_edit(
        999,
        prompt=f"The mother of {SECRET} is",
        target=SECRET,
        paraphrases=(f"Who bore {SECRET}?",),
        tags=(SECRET,),
        source=f"{SECRET}.csv",
        details={"note": SECRET},
        keys=keys,
        weights=weights,
    )
    (edit_id,) = store.write([secret]).edit_ids
    store.write([sample_edit(n, size=900) for n in range(200, 400)])
    store.recalibrate(1, [(record.id, store.keys(record.id)) for record in store.records()])
    store.quarantine([edit_id], f"{SECRET} asked for it")
    store.restore([edit_id])
    if revoked_first:
        store.revoke([edit_id])
    traces = [
        SECRET.encode(),
        weights,
        weights[100:130],
        keys.retrieval[0].tobytes(),
        keys.verification[1].tobytes(),
    ]
    assert all(trace in bytes_of(store.path) for trace in traces)
    store.purge([edit_id])
    store.write([sample_edit(400)] if store.calibration == 0 else [sample_edit(400, calibration=1)])
    store.compact()
    assert not [trace for trace in traces if trace in bytes_of(store.path)]
    assert store.weights([1]) == [sample_weights(1, 900)]
    assert store.verify().ok


def test_compaction_gives_purged_space_back(store: LmdbStore) -> None:
    """The file shrinks by about what was purged, and reads as before."""
    store.write([sample_edit(n, size=4000) for n in range(1, 400)])
    store.purge([n for n in range(1, 400) if n % 4])
    before, size = state_of(store), store.stats().file_bytes
    saved = store.compact()
    assert saved > 0.6 * size
    assert store.stats().file_bytes == size - saved
    assert state_of(store) == before
    store.write([sample_edit(500)])
    store.close()
    with LmdbStore.open(store.path) as again:
        assert again.record(400).target == "Town 500"


def test_backup_opens_anywhere(store: LmdbStore, tmp_path: Path) -> None:
    """A backup is a store of its own with the same contents, and the origin goes on."""
    store.write([sample_edit(n) for n in range(1, 100)])
    store.revoke([3])
    expected = state_of(store)
    store.backup(tmp_path / "some" / "where")
    store.write([sample_edit(100)])
    with LmdbStore.open(tmp_path / "some" / "where", fingerprint=store.manifest.fingerprint) as copy:
        assert state_of(copy) == expected
        assert copy.verify().ok
        copy.write([sample_edit(200)])
    assert sorted(path.name for path in (tmp_path / "some" / "where").iterdir()) == [
        "edits.lmdb",
        "edits.lmdb-lock",
        "writer.lock",
    ]


def test_backup_while_writing_is_of_one_moment(store: LmdbStore, tmp_path: Path) -> None:
    """A backup taken by a reader while the writer goes on holds whole transactions only."""
    store.write([sample_edit(n, size=3000) for n in range(1, 300)])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.revoke(range(1, 100))
            store.restore(range(1, 100))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with LmdbStore.open(store.path, read_only=True) as reader:
            for number in range(3):
                reader.backup(tmp_path / f"copy-{number}")
    finally:
        stop.set()
        thread.join()
    for number in range(3):
        with LmdbStore.open(tmp_path / f"copy-{number}") as copy:
            assert copy.verify().ok
            statuses = {copy.record(edit_id).status for edit_id in range(1, 100)}
            assert len(statuses) == 1


def test_backup_onto_a_store_is_refused(store: LmdbStore, tmp_path: Path) -> None:
    """A backup never overwrites a store, least of all itself."""
    store.write([sample_edit(1)])
    store.backup(tmp_path / "copy")
    for folder in (tmp_path / "copy", store.path):
        with pytest.raises(StoreExistsError):
            store.backup(folder)


@pytest.mark.parametrize("step", ["copied", "journal", "renamed", "unlocked"])
def test_exchange_interrupted_anywhere_is_finished_by_the_next_opening(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A compaction that dies between any two of its steps leaves a store that opens, whole."""
    store.write([sample_edit(n) for n in range(1, 50)])
    store.purge(range(1, 20))
    expected = state_of(store)

    def die(*_: object) -> None:
        raise InterruptedError

    where = {
        "copied": ("exchange_file", files),
        "journal": ("rename", Path),
        "renamed": ("finish_exchange", files),
        "unlocked": ("remove", files),
    }
    name, owner = where[step]
    with monkeypatch.context() as patch:
        if step == "journal":
            original = Path.rename
            patch.setattr(
                Path, "rename", lambda self, to: die() if self.name == files.NEW_NAME else original(self, to)
            )
        elif step == "unlocked":
            remove = files.remove
            patch.setattr(
                files, "remove", lambda path: die() if path.name == files.JOURNAL_NAME else remove(path)
            )
        else:
            patch.setattr(owner, name, die)
        with pytest.raises(InterruptedError):
            store.compact()
    store.close()
    with LmdbStore.open(store.path) as again:
        assert state_of(again) == expected
        assert again.compact() >= 0
        assert again.verify().ok
    left = {path.name for path in store.path.iterdir()}
    assert left <= {"edits.lmdb", "edits.lmdb-lock", "writer.lock"}
