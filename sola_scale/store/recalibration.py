"""Exchanging all keys: the new ones are staged in the idle pair of tables, then one transaction switches over."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice

import msgspec

from sola_scale.errors import EditStateError
from sola_scale.store.bookkeeping import (
    KeyLayout,
    pack_owner,
    pack_state,
    read_counters,
    read_state,
    write_counters,
    write_layout,
)
from sola_scale.store.changes import LogEntry
from sola_scale.store.keyrows import check_layout, layout_of
from sola_scale.store.limits import check_finite, check_keys
from sola_scale.store.listing import scan_states
from sola_scale.store.records import EditStatus, KeyRows, Operation
from sola_scale.store.segments import SPAN, entry
from sola_scale.store.tables import Table, retrieval, verification
from sola_scale.store.transaction import ReadTransaction, WriteTransaction
from sola_scale.store.values import pack_id

_BATCH = 1024
_NEEDED = (EditStatus.LIVE, EditStatus.SUPERSEDED, EditStatus.REVOKED)

Writing = Callable[[], AbstractContextManager[WriteTransaction]]
"""Opens a write transaction."""


def stage(writing: Writing, calibration: int, rows: Iterable[tuple[int, KeyRows]]) -> KeyLayout | None:
    """Put new keys into the idle tables, a batch a transaction; returns their layout, None without any rows."""
    with writing() as txn:
        clear_staged(txn)
    layout: KeyLayout | None = None
    for batch in _batches(rows):
        for _, keys in batch:
            check_keys(keys)
            layout = layout or layout_of(keys, calibration)
            check_layout(layout_of(keys, calibration), layout)
        check_finite([keys for _, keys in batch])
        with writing() as txn:
            _stage_batch(txn, dict(batch))
    return layout


def _batches(rows: Iterable[tuple[int, KeyRows]]) -> Iterator[list[tuple[int, KeyRows]]]:
    pulled = iter(rows)
    while batch := list(islice(pulled, _BATCH)):
        yield batch


def _stage_batch(txn: WriteTransaction, batch: Mapping[int, KeyRows]) -> None:
    idle = read_counters(txn).generation + 1
    # An edit purged since its keys were computed must not come back through the staging tables.
    kept = {e: keys for e, keys in batch.items() if read_state(txn, e).status is not EditStatus.PURGED}
    txn.put_segments(retrieval(idle), {e: keys.retrieval.tobytes() for e, keys in kept.items()})
    txn.put_segments(verification(idle), {e: keys.verification.tobytes() for e, keys in kept.items()})


def clear_staged(txn: WriteTransaction) -> None:
    """Empty the idle tables of what an interrupted exchange left."""
    idle = read_counters(txn).generation + 1
    for table in (retrieval(idle), verification(idle)):
        if txn.stat(table)["entries"]:
            txn.clear(table)


def switch(txn: WriteTransaction, layout: KeyLayout | None, at: int) -> LogEntry:
    """Let the staged keys serve: fresh key ids for every live edit, the old tables emptied, one log entry."""
    counters = read_counters(txn)
    counters.generation += 1
    counters.last_seq += 1
    txn.clear(Table.KEYS)
    row_bytes = layout.row_type.dtype.itemsize * layout.retrieval_width if layout else 1
    after = 0
    while page := scan_states(txn, after, SPAN * 64):
        for edit_id, state in page:
            rows = _staged_rows(txn, counters.generation, edit_id, row_bytes)
            if not rows and state.status in _NEEDED:
                raise EditStateError(f"edit {edit_id} got no keys of the new calibration; the old ones stay")
            first = 0
            if state.status is EditStatus.LIVE:
                first, counters.next_key = counters.next_key, counters.next_key + rows
                for row in range(rows):
                    txn.append(Table.KEYS, pack_id(first + row), pack_owner(edit_id, row))
            txn.put(Table.STATES, pack_id(edit_id), pack_state(state._replace(rows=rows, first_key=first)))
        after = page[-1][0]
    if layout is not None:
        write_layout(txn, layout)
    write_counters(txn, counters)
    clear_staged(txn)
    log_entry = LogEntry(counters.last_seq, at, Operation.RECALIBRATE, ())
    txn.append(Table.LOG, pack_id(log_entry.seq), msgspec.msgpack.encode(log_entry))
    return log_entry


def _staged_rows(txn: ReadTransaction, generation: int, edit_id: int, row_bytes: int) -> int:
    """How many rows are staged for an edit."""
    segment = txn.raw(retrieval(generation), pack_id(edit_id // SPAN))
    payload, _ = entry(segment, edit_id)
    return 0 if payload is None else len(payload) // row_bytes
