"""Damage: found by checksums, told by name, kept from firing; the rest serves on."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sola_scale.errors import CorruptRecordError, EditStateError, LogTruncatedError, SolaError
from sola_scale.store import EditFilter, EditStatus, LmdbStore, Operation
from sola_scale.store.prompts import put_hashes
from sola_scale.store.tables import Table
from sola_scale.store.testing import sample_edit, sample_manifest
from sola_scale.store.testing.samples import active, sample_keys, sample_weights, state_of
from sola_scale.store.values import pack_id

FILE = "edits.lmdb"


def flip(store: LmdbStore, content: bytes) -> None:
    """Flip one bit of the file where these bytes lie, as a failing disk would."""
    path = store.path / FILE
    data = bytearray(path.read_bytes())
    found = data.find(content)
    assert found >= 0
    while found >= 0:
        data[found + len(content) // 2] ^= 0x10
        found = data.find(content, found + 1)
    # In place: the store has this file mapped.
    with path.open("r+b") as file:
        file.write(data)


def meddle(store: LmdbStore, table: Table, key: bytes, value: bytes | None) -> None:
    """Set or delete a raw value behind the store's back."""
    with store._write() as txn:
        if value is None:
            txn.delete(table, key)
        else:
            txn._txn.put(key, value, db=txn._tables[table])


def test_damaged_weights_are_named(store: LmdbStore) -> None:
    """A flipped bit in weights raises an error that names the edit; its neighbours read on."""
    store.write([sample_edit(n, size=1200) for n in range(1, 11)])
    flip(store, sample_weights(4, 1200))
    with pytest.raises(CorruptRecordError, match="edit 4 is damaged in table 'weights'") as caught:
        store.weights([3, 4, 5])
    assert caught.value.edit_id == 4
    assert store.weights([3, 5]) == [sample_weights(3, 1200), sample_weights(5, 1200)]


def test_verify_quarantines_damaged_edits(store: LmdbStore) -> None:
    """`verify` names the damaged edits; with `repair` they are stopped, their predecessors come back, the rest stay."""
    store.write([sample_edit(n, size=1200) for n in range(1, 11)])
    store.write([sample_edit(11, supersedes=3, size=1200)])
    flip(store, sample_weights(11, 1200))
    flip(store, sample_keys(5).verification.tobytes())
    flip(store, sample_keys(6).retrieval.tobytes())
    report = store.verify()
    assert report.damaged_edits == (5, 6, 11)
    assert {damage.table for damage in report.damages} == {"weights", "verification.0", "retrieval.0"}
    assert store.record(11).status is EditStatus.LIVE
    seq = store.last_seq
    report = store.verify(repair=True)
    assert report.quarantined == (5, 6, 11)
    assert [store.record(n).status for n in (3, 11)] == [EditStatus.LIVE, EditStatus.QUARANTINED]
    assert {owner for owner, _ in active(store).values()} == {1, 2, 3, 4, 7, 8, 9, 10}
    assert store.changes(seq)[0].operation is Operation.QUARANTINE
    again = store.verify()
    assert again.ok
    assert again.damaged_edits == (5, 6, 11)
    with pytest.raises(EditStateError, match="cannot be restored"):
        store.restore([11])


def test_damaged_predecessor_does_not_come_back(store: LmdbStore) -> None:
    """When the newest of a chain is revoked, a damaged predecessor is quarantined and passed over."""
    store.write([sample_edit(1), sample_edit(2, supersedes=1), sample_edit(3, supersedes=2)])
    flip(store, sample_weights(2))
    transition = store.revoke([3])
    assert [a.edit_id for a in transition.activated] == [1]
    assert [store.record(n).status for n in (1, 2, 3)] == ["live", "quarantined", "revoked"]


def test_index_rebuild_leaves_damaged_keys_out(store: LmdbStore) -> None:
    """Blocks of active keys name edits whose rows are damaged and go on without them."""
    store.write([sample_edit(n) for n in range(1, 6)])
    flip(store, sample_keys(2).retrieval.tobytes())
    (block,) = store.active_keys()
    assert block.edit_ids.tolist() == [1, 3, 4, 5]
    assert block.damaged == (2,)
    assert np.array_equal(block.retrieval[1], sample_keys(3).retrieval[0])


def test_listing_goes_on_past_a_damaged_record(store: LmdbStore) -> None:
    """A record that cannot be read is listed as quarantined, with the reason; the others as they are."""
    store.write([sample_edit(n) for n in range(1, 5)])
    flip(store, b"The capital of land 2 is")
    listed = {record.id: record for record in store.records()}
    assert listed[2].status is EditStatus.QUARANTINED
    assert "table 'records' is damaged" in listed[2].history[0].note
    assert [record.id for record in store.records(EditFilter(tags=("odd",)))] == [1, 3]
    with pytest.raises(CorruptRecordError, match="edit 2"):
        store.record(2)
    report = store.verify(repair=True)
    assert report.quarantined == (2,)
    assert store.record(2).status is EditStatus.QUARANTINED
    assert store.find_prompt("The capital of land 3 is") == [3]
    assert store.verify().ok


def set_hash(store: LmdbStore, edit_id: int, value: int) -> None:
    """Set the hash of a prompt behind the store's back."""
    with store._write() as txn:
        put_hashes(txn, {edit_id: value})


BREAKAGES: dict[str, Callable[[LmdbStore], None]] = {
    "state": lambda s: meddle(s, Table.STATES, pack_id(2), b"\x01rubbish"),
    "state gone": lambda s: meddle(s, Table.STATES, pack_id(2), None),
    "record gone": lambda s: meddle(s, Table.RECORDS, pack_id(2), None),
    "key gone": lambda s: meddle(s, Table.KEYS, pack_id(s.record(2).key_ids[0]), None),
    "stray key": lambda s: meddle(s, Table.KEYS, pack_id(999), b"\x01rubbish of no meaning"),
    "prompts": lambda s: meddle(s, Table.PROMPTS, pack_id(0), b"\x01rubbish12"),
    "prompts gone": lambda s: meddle(s, Table.PROMPTS, pack_id(0), None),
    "wrong prompt": lambda s: set_hash(s, 2, 77),
    "stray prompt": lambda s: set_hash(s, 40, 77),
    "chain gone": lambda s: meddle(s, Table.CHAINS, pack_id(3) + pack_id(12), None),
    "history": lambda s: meddle(s, Table.HISTORY, pack_id(4) + pack_id(3), b"\x01rubbish12"),
    "log": lambda s: meddle(s, Table.LOG, pack_id(2), b"\x01rubbish12"),
    "log gone": lambda s: meddle(s, Table.LOG, pack_id(1), None),
    "segment gone": lambda s: meddle(s, Table.WEIGHTS, pack_id(0), None),
    "segment": lambda s: meddle(s, Table.RETRIEVAL_0, pack_id(0), b"\x01rubbish12"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_every_breakage_is_found_and_repaired(store: LmdbStore, breakage: str) -> None:
    """Whatever is broken in whichever table, `verify` finds it, and after repair nothing is wrong any more."""
    store.write([sample_edit(n) for n in range(1, 12)])
    store.write([sample_edit(12, supersedes=3)])
    store.revoke([4])
    store.restore([4])
    BREAKAGES[breakage](store)
    assert not store.verify().ok
    report = store.verify(repair=True)
    assert report.quarantined or report.repaired
    again = store.verify()
    assert again.damages == []
    held = active(store)
    for record in store.records():
        assert (record.status is EditStatus.LIVE) == bool(record.key_ids)
        assert all(held[key_id][0] == record.id for key_id in record.key_ids)
    store.write([sample_edit(13)])
    store.revoke([1])


def test_stray_bytes_of_a_purged_edit_are_found_and_erased(store: LmdbStore) -> None:
    """Contents that should have been purged are damage, and repair erases them."""
    store.write([sample_edit(1), sample_edit(2)])
    store.purge([1])
    with store._write() as txn:
        txn.put_segments(Table.WEIGHTS, {1: b"left over", 77: b"of nobody"})
    assert len(store.verify().damages) == 2
    store.verify(repair=True)
    assert store.verify().ok
    assert store.weights([2]) == [sample_weights(2)]


def test_damaged_log_sends_followers_to_a_fresh_start(store: LmdbStore) -> None:
    """An unreadable log entry raises for who follows it; repair truncates the log up to it."""
    for number in range(1, 5):
        store.write([sample_edit(number)])
    meddle(store, Table.LOG, pack_id(2), b"\x01rubbish12")
    with pytest.raises(CorruptRecordError):
        store.log()
    store.verify(repair=True)
    with pytest.raises(LogTruncatedError):
        store.log()
    assert [entry.seq for entry in store.log(after=2)] == [3, 4]


def test_damaged_blob_is_told(store: LmdbStore) -> None:
    """A calibration that fails its checksum is refused by name, and `verify` lists it."""
    store.put_blob("calibration/1", b"coefficients" * 1000)
    flip(store, b"coefficients" * 100)
    with pytest.raises(CorruptRecordError, match="blobs"):
        store.blob("calibration/1")
    assert [damage.table for damage in store.verify().damages] == ["blobs"]


def test_misplaced_values_are_refused(store: LmdbStore) -> None:
    """A value found under another key than its own is damage, though its bytes are whole."""
    store.write([sample_edit(1), sample_edit(2)])
    with store._read() as txn:
        other = bytes(txn.raw(Table.RECORDS, pack_id(2)) or b"")
    meddle(store, Table.RECORDS, pack_id(1), other)
    with pytest.raises(CorruptRecordError):
        store.record(1)


@pytest.mark.parametrize("cut", [1, 4096, 50_000])
def test_truncated_file_is_refused(store: LmdbStore, cut: int) -> None:
    """A file that lost its end is not opened: touching what is missing would kill the process."""
    store.write([sample_edit(n, size=1200) for n in range(200)])
    store.close()
    path = store.path / FILE
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    with pytest.raises(CorruptRecordError, match="truncated"):
        LmdbStore.open(store.path)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    """Wherever one bit flips, the store reads as before, or an error says that it does not, or `verify` does."""
    origin, copy = tmp_path / "origin", tmp_path / "copy"
    with LmdbStore.create(origin, sample_manifest()) as store:
        store.write([sample_edit(n, size=800) for n in range(1, 120)])
        store.write([sample_edit(120, supersedes=5)])
        store.revoke(range(20, 40))
        store.purge([50])
        expected = state_of(store)
    rng, size, told = random.Random(0), (origin / FILE).stat().st_size, 0
    for trial in range(60):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(origin, copy)
        with (copy / FILE).open("r+b") as file:
            # Every other time into a page's header, where LMDB and not a checksum must notice.
            header = rng.randrange(size // 4096) * 4096 + rng.randrange(24)
            file.seek(position := header if trial % 2 else rng.randrange(size))
            byte = file.read(1)[0] ^ 1 << rng.randrange(8)
            file.seek(position)
            file.write(bytes([byte]))
        try:
            with LmdbStore.open(copy, read_only=True) as store:
                if _differs(store, expected):
                    told += 1
                    assert not store.verify().ok
        except SolaError:
            told += 1
    assert told > 10


def _differs(store: LmdbStore, expected: dict[str, object]) -> bool:
    """Whether a store reads otherwise than expected, or not at all."""
    try:
        return state_of(store) != expected
    except SolaError:
        return True
