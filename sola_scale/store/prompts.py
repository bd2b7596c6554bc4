"""Finding edits by their exact prompt: one hash an edit, in the order of their ids, searched as an array.

A tree sorted by hash would be touched all over by every batch: at 100,000 edits a batch of 1,000 then writes as many
scattered pages as its weights take. In edit order a batch touches two or three pages, and comparing a million hashes
in memory takes less than a millisecond.
"""

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from sola_scale.store.bookkeeping import read_counters
from sola_scale.store.stored import read_stored
from sola_scale.store.tables import Table
from sola_scale.store.transaction import ReadTransaction, WriteTransaction
from sola_scale.store.values import pack_id

BLOCK = 508
"""Hashes in a value: with its seal it fills one page."""


def hash_of(prompt: str) -> int:
    """The hash of a prompt; 0 says that there is none, as in a purged edit."""
    return xxh3_64_intdigest(prompt.encode()) or 1 if prompt else 0


def put_hashes(txn: WriteTransaction, hashes: Mapping[int, int]) -> None:
    """Store the hashes of edits; 0 erases one."""
    blocks: dict[int, dict[int, int]] = {}
    for edit_id, value in hashes.items():
        blocks.setdefault(edit_id // BLOCK, {})[edit_id % BLOCK] = value
    for number, changes in blocks.items():
        block = read_block(txn, number)
        block[list(changes)] = list(changes.values())
        txn.put(Table.PROMPTS, pack_id(number), block.tobytes())


def read_block(txn: ReadTransaction, number: int) -> NDArray[np.uint64]:
    """A copy of the hashes of edits BLOCK · number and following, uint64 [BLOCK]; raises CorruptRecordError."""
    payload = txn.get(Table.PROMPTS, pack_id(number))
    return np.zeros(BLOCK, np.uint64) if payload is None else np.frombuffer(payload, np.uint64).copy()


class PromptIndex:
    """The hashes of all edits in memory, eight bytes each, extended as edits are written.

    What an edit's prompt was never changes, so nothing read once must be read again; a purged edit's hash may still
    be held, but its text no longer compares equal.
    """

    def __init__(self) -> None:
        self._hashes = np.zeros(0, np.uint64)
        self._lock = threading.Lock()

    def find(self, txn: ReadTransaction, prompt: str) -> list[int]:
        """Ids of the edits with exactly this prompt, ascending; the text decides, as hashes may collide."""
        value = hash_of(prompt)
        if not value:
            return []
        with self._lock:
            known = self._extended(txn, read_counters(txn).next_edit)
        candidates = np.flatnonzero(known == np.uint64(value)).tolist()
        return [edit_id for edit_id in candidates if read_stored(txn, edit_id).prompt == prompt]

    def _extended(self, txn: ReadTransaction, end: int) -> NDArray[np.uint64]:
        """The hashes of edits below `end`."""
        if len(self._hashes) < end:
            # The last block read may have been half full.
            whole = len(self._hashes) // BLOCK
            fresh = [read_block(txn, number) for number in range(whole, (end - 1) // BLOCK + 1)]
            self._hashes = np.concatenate([self._hashes[: whole * BLOCK], *fresh])[:end]
        return self._hashes[:end]
