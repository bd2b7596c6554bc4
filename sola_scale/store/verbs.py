"""The verbs that change edits, each inside a write transaction of its caller."""

from collections.abc import Collection, Iterable, Sequence

from sola_scale.errors import CorruptRecordError, EditStateError
from sola_scale.store.bookkeeping import KeyLayout, read_counters, read_layout, read_state, write_layout
from sola_scale.store.changes import LogEntry
from sola_scale.store.changeset import Changeset
from sola_scale.store.keyrows import check_layout, layout_of
from sola_scale.store.limits import check_edits, check_finite
from sola_scale.store.prompts import hash_of, put_hashes
from sola_scale.store.records import EditStatus, NewEdit, Operation, unique
from sola_scale.store.stored import check_intact, encode, erase_notes, erase_text
from sola_scale.store.tables import SEGMENTED, Table, retrieval, verification
from sola_scale.store.transaction import WriteTransaction
from sola_scale.store.values import pack_range

STATUS_AFTER = {
    Operation.REVOKE: EditStatus.REVOKED,
    Operation.RESTORE: EditStatus.SUPERSEDED,
    Operation.PURGE: EditStatus.PURGED,
    Operation.QUARANTINE: EditStatus.QUARANTINED,
}
"""Verb → what an edit is afterwards; a restored one is live if it is the newest of its chain."""


def check_batch(edits: Sequence[NewEdit]) -> KeyLayout:
    """Refuse a batch with a malformed edit or keys of several layouts; returns their layout."""
    forms = check_edits(edits)
    first = layout_of(edits[0].keys, edits[0].calibration)
    for other in forms:
        check_layout(layout_of(other.keys, other.calibration), first)
    check_finite([edit.keys for edit in edits])
    return first


def write_edits(
    txn: WriteTransaction, edits: Sequence[NewEdit], layout: KeyLayout, at: int
) -> LogEntry | None:
    """Store checked edits: states and chains first, then what they consist of."""
    stored = read_layout(txn)
    if stored is None:
        write_layout(txn, layout)
    else:
        check_layout(layout, stored)
    change = Changeset(txn, Operation.WRITE, at)
    chains = []
    for edit in edits:
        chain = None if edit.supersedes is None else change.state(edit.supersedes).chain
        chains.append(chain or change.counters.next_edit)
        change.add(len(edit.keys), chain)
    change.settle(chains)
    _put_contents(txn, dict(zip(change.edit_ids, edits, strict=True)), change)
    return change.finish()


def _put_contents(txn: WriteTransaction, edits: dict[int, NewEdit], change: Changeset) -> None:
    """Records, prompts, weights and key rows of new edits."""
    records = [encode(edit, change.at, change.seq) for edit in edits.values()]
    txn.append_all(Table.RECORDS, pack_range(min(edits), len(edits)), records)
    put_hashes(txn, {edit_id: hash_of(edit.prompt) for edit_id, edit in edits.items()})
    generation = change.counters.generation
    rows = {edit_id: edit.keys for edit_id, edit in edits.items()}
    txn.put_segments(Table.WEIGHTS, {edit_id: edit.weights for edit_id, edit in edits.items()})
    txn.put_segments(retrieval(generation), {e: keys.retrieval.tobytes() for e, keys in rows.items()})
    txn.put_segments(verification(generation), {e: keys.verification.tobytes() for e, keys in rows.items()})


def change_status(
    txn: WriteTransaction, operation: Operation, ids: Iterable[int], at: int, note: str = ""
) -> LogEntry | None:
    """Revoke, restore, purge or quarantine edits; raises before anything changes."""
    states = {edit_id: read_state(txn, edit_id) for edit_id in unique(ids)}
    asked = {e: state for e, state in states.items() if _changes(txn, operation, e, state.status)}
    change = Changeset(txn, operation, at)
    if operation is Operation.PURGE:
        _erase(txn, asked)
    for edit_id in asked:
        change.mark(edit_id, STATUS_AFTER[operation], note)
    change.settle(state.chain for state in asked.values())
    return change.finish()


def _changes(txn: WriteTransaction, operation: Operation, edit_id: int, status: EditStatus) -> bool:
    """Whether the operation changes an edit of this status; raises EditStateError where it must not."""
    if operation is Operation.RESTORE:
        _refuse_purged(edit_id, status, "restored")
        if not status.eligible:
            _refuse_damaged(txn, edit_id)
        return not status.eligible
    if operation is Operation.QUARANTINE:
        _refuse_purged(edit_id, status, "quarantined")
    if operation is Operation.REVOKE and status is EditStatus.QUARANTINED:
        # It is stopped, and may have no keys any more: only a look at its bytes can tell whether it may come back.
        return False
    return status not in (STATUS_AFTER[operation], EditStatus.PURGED)


def _refuse_purged(edit_id: int, status: EditStatus, verb: str) -> None:
    if status is EditStatus.PURGED:
        raise EditStateError(f"edit {edit_id} is purged: it cannot be {verb}")


def _refuse_damaged(txn: WriteTransaction, edit_id: int) -> None:
    try:
        check_intact(txn, edit_id, read_counters(txn).generation)
    except CorruptRecordError as error:
        raise EditStateError(f"edit {edit_id} cannot be restored: {error}") from error


def _erase(txn: WriteTransaction, ids: Collection[int]) -> None:
    """Take text, weights and keys of edits out of every table, both key generations included."""
    put_hashes(txn, dict.fromkeys(ids, 0))
    for edit_id in ids:
        erase_text(txn, edit_id)
        erase_notes(txn, edit_id)
    for table in SEGMENTED:
        txn.put_segments(table, dict.fromkeys(ids))
