"""Reading edits, keys, weights and the log, each inside a transaction of its caller."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import CorruptRecordError, EditStateError, LogTruncatedError
from sola_scale.store.bookkeeping import (
    KeyLayout,
    decoded,
    read_counters,
    read_layout,
    read_state,
    unpack_owner,
)
from sola_scale.store.changes import Activation, KeyBlock, KeySpan, LogEntry, Transition, no_keys
from sola_scale.store.contract import Visit
from sola_scale.store.keyrows import read_keys, read_retrieval, row_bytes
from sola_scale.store.records import EditStatus, KeyRows
from sola_scale.store.tables import Table, retrieval, verification
from sola_scale.store.transaction import ReadTransaction, ids_below
from sola_scale.store.values import pack_id, unpack_id


def chain_of(txn: ReadTransaction, edit_id: int) -> list[int]:
    """Ids of an edit's chain, oldest first."""
    chain = read_state(txn, edit_id).chain
    return ids_below(txn, Table.CHAINS, pack_id(chain)) or [chain]


def show_weights(txn: ReadTransaction, ids: Iterable[int], visit: Visit) -> None:
    """Call `visit` with each edit's checked weights."""
    read = txn.segment_reader(Table.WEIGHTS)
    for edit_id in ids:
        try:
            view = read(edit_id)
        except CorruptRecordError:
            refuse_purged(txn, edit_id)
            raise
        visit(edit_id, view)


def refuse_purged(txn: ReadTransaction, edit_id: int) -> None:
    """Raise UnknownEditError or EditStateError where an edit has no contents."""
    if read_state(txn, edit_id).status is EditStatus.PURGED:
        raise EditStateError(f"edit {edit_id} is purged: its weights and keys are gone")


def keys_of(txn: ReadTransaction, edit_id: int) -> KeyRows:
    """Copies of an edit's keys."""
    refuse_purged(txn, edit_id)
    return read_keys(txn, layout_or_raise(txn), read_counters(txn).generation, edit_id)


def layout_or_raise(txn: ReadTransaction) -> KeyLayout:
    """The layout of keys of a store that has edits."""
    layout = read_layout(txn)
    if layout is None:
        raise CorruptRecordError("the store has edits but no key layout")
    return layout


def owners_of(txn: ReadTransaction, key_ids: Iterable[int]) -> list[tuple[int, int]]:
    """Edit and row of each key; (0, 0) for keys that are not active, or whose entry is damaged."""
    get = txn.getter(Table.KEYS)
    found = []
    for key_id in key_ids:
        try:
            payload = get(pack_id(key_id))
        except CorruptRecordError:
            payload = None
        found.append((0, 0) if payload is None else unpack_owner(payload))
    return found


def verification_of(
    txn: ReadTransaction, key_ids: NDArray[np.uint64]
) -> tuple[NDArray[np.float16], NDArray[np.uint64]]:
    """Verification rows and owners of keys."""
    owners = owners_of(txn, key_ids.tolist())
    layout = read_layout(txn)
    width = 2 * layout.verification_width if layout else 0
    # Bytes are gathered, not arrays: on rows this short NumPy's own calls would take most of the time.
    rows = bytearray(width * len(owners))
    read = txn.segment_reader(verification(read_counters(txn).generation))
    for number, (edit_id, row) in enumerate(owners):
        if edit_id:
            rows[number * width : (number + 1) * width] = _row(read(edit_id), row, width, edit_id)
    found = np.frombuffer(rows, dtype=np.float16).reshape(len(owners), width // 2)
    return found, np.array([edit_id for edit_id, _ in owners], dtype=np.uint64)


def _row(payload: memoryview, row: int, width: int, edit_id: int) -> memoryview:
    """One row of an edit's stored keys; raises CorruptRecordError where there are not so many."""
    if len(payload) < (row + 1) * width:
        raise CorruptRecordError(f"edit {edit_id} has fewer keys than the index was given", edit_id)
    return payload[row * width : (row + 1) * width]


def key_block(txn: ReadTransaction, start: int, size: int) -> KeyBlock | None:
    """The active keys from id `start` on, at most `size`; None where there are no more."""
    key_ids = [unpack_id(key) for key, _ in islice(txn.scan(Table.KEYS, pack_id(start)), size)]
    if not key_ids:
        return None
    owners = owners_of(txn, key_ids)
    layout = layout_or_raise(txn)
    rows, intact, damaged = _gather(txn, layout, owners)
    edit_ids = np.array([owners[number][0] for number in intact], dtype=np.uint64)
    kept = np.array(key_ids, dtype=np.uint64)[intact]
    return KeyBlock(key_ids[-1], kept, edit_ids, rows, tuple(sorted(damaged)))


def _gather(
    txn: ReadTransaction, layout: KeyLayout, owners: list[tuple[int, int]]
) -> tuple[NDArray[np.floating], list[int], set[int]]:
    """Retrieval rows of owners, the places among them that could be read, and the damaged edits."""
    read = txn.segment_reader(retrieval(read_counters(txn).generation))
    width, _ = row_bytes(layout)
    rows: list[memoryview] = []
    intact: list[int] = []
    damaged: set[int] = set()
    for number, (edit_id, row) in enumerate(owners):
        try:
            if edit_id:
                rows.append(_row(read(edit_id), row, width, edit_id))
                intact.append(number)
        except CorruptRecordError:
            damaged.add(edit_id)
    found = np.frombuffer(b"".join(rows), dtype=layout.row_type.dtype)
    return found.reshape(len(rows), layout.retrieval_width), intact, damaged


def log_entries(txn: ReadTransaction, after: int, limit: int) -> list[LogEntry]:
    """Log entries beyond `after`; raises LogTruncatedError."""
    low_water = read_counters(txn).low_water
    if after < low_water:
        raise LogTruncatedError(
            f"the log starts after entry {low_water}, asked was {after}: rebuild the index"
        )
    found: list[LogEntry] = []
    for key, _ in txn.scan(Table.LOG, pack_id(after + 1)):
        if len(found) == limit:
            break
        found.append(decoded(LogEntry, txn.get(Table.LOG, key) or b"", "a log entry"))
    return found


def transition_of(
    txn: ReadTransaction, entry: LogEntry, given: Mapping[int, NDArray[np.floating]] | None = None
) -> Transition:
    """What an index must do for a log entry; keys that are active no more are left out of what it adds.

    Args:
        txn: The transaction to read from.
        entry: The log entry.
        given: Retrieval rows by edit that need not be read.
    """
    return Transition(
        operation=entry.operation,
        edit_ids=entry.edit_ids,
        deactivated=np.concatenate([no_keys(), *(span.key_ids for span in entry.deactivated)]),
        activated=tuple(_activations(txn, entry.activated, given or {})),
        last_seq=entry.seq,
        rebuild=entry.rebuild,
    )


def _activations(
    txn: ReadTransaction, spans: Sequence[KeySpan], given: Mapping[int, NDArray[np.floating]]
) -> Iterator[Activation]:
    layout, generation = read_layout(txn), read_counters(txn).generation
    # A transaction gives key ids without gaps, in the order of its spans.
    pool = (
        np.arange(spans[0].first, spans[-1].first + spans[-1].count, dtype=np.uint64) if spans else no_keys()
    )
    for span in spans:
        key_ids = pool[span.first - spans[0].first :][: span.count]
        rows = given.get(span.edit_id)
        if rows is not None:
            yield Activation(span.edit_id, key_ids, rows)
            continue
        # Keys that went inactive since are not to be added; damaged ones never.
        with suppress(CorruptRecordError):
            if layout is not None and read_state(txn, span.edit_id).first_key == span.first:
                rows = read_retrieval(txn, layout, generation, span.edit_id)
                yield Activation(span.edit_id, key_ids, rows)
