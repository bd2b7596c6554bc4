"""Finding edits by prompt: exact, current, and without holding on to what was purged."""

from pathlib import Path
from unittest.mock import patch

import pytest

from sola_scale.errors import CorruptRecordError
from sola_scale.store import LmdbStore, prompts
from sola_scale.store.tables import Table
from sola_scale.store.testing import sample_edit
from sola_scale.store.values import pack_id


def test_found_across_blocks_and_batches(store: LmdbStore) -> None:
    """Edits of several blocks, written after the first look-up, are found all the same."""
    for start in (1, 400, 1000):
        store.write([sample_edit(n) for n in range(start, start + 300)])
        found = [store.find_prompt(f"The capital of land {n} is") for n in range(start, start + 300)]
        assert found == [[edit_id] for edit_id in range(store.next_edit_id - 300, store.next_edit_id)]
    store.write([sample_edit(1)])
    assert store.find_prompt("The capital of land 1 is") == [1, 901]


def test_colliding_hashes_are_told_apart(store: LmdbStore) -> None:
    """Two prompts with one hash are two prompts."""
    with (
        patch.object(prompts, "xxh3_64_intdigest", lambda _: 7),
        patch("sola_scale.store.verbs.hash_of", lambda _: 7),
    ):
        store.write([sample_edit(1), sample_edit(2)])
        assert store.find_prompt("The capital of land 2 is") == [2]
        assert store.find_prompt("The capital of land 3 is") == []


def test_reader_finds_what_the_writer_adds(store: LmdbStore) -> None:
    """Another store object's hashes follow the file, and a purged prompt is found no more."""
    store.write([sample_edit(1)])
    with LmdbStore.open(store.path, read_only=True) as reader:
        assert reader.find_prompt("The capital of land 1 is") == [1]
        store.write([sample_edit(2)])
        assert reader.find_prompt("The capital of land 2 is") == [2]
        store.purge([1])
        assert reader.find_prompt("The capital of land 1 is") == []


def test_purged_hash_is_erased(store: LmdbStore, tmp_path: Path) -> None:
    """Not even the hash of a purged prompt stays, by which a guess could be confirmed."""
    store.write([sample_edit(1), sample_edit(2)])
    store.purge([1])
    with store._read() as txn:
        assert prompts.read_block(txn, 0)[:3].tolist() == [0, 0, prompts.hash_of("The capital of land 2 is")]


def test_damaged_hashes_are_told(store: LmdbStore) -> None:
    """A damaged block raises, rather than hiding the edits in it, and repair rebuilds it."""
    store.write([sample_edit(1)])
    with store._write() as txn:
        txn._txn.put(pack_id(0), b"\x01rubbish12", db=txn._tables[Table.PROMPTS])
    with pytest.raises(CorruptRecordError, match="prompts"):
        store.find_prompt("The capital of land 1 is")
    store.verify(repair=True)
    assert store.find_prompt("The capital of land 1 is") == [1]
