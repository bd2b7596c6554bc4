"""Making a damaged store sound again: damaged edits are stopped, what can be derived is rebuilt."""

from collections.abc import Collection

from sola_scale.errors import CorruptRecordError, UnknownEditError
from sola_scale.store.audit import chains_of
from sola_scale.store.bookkeeping import (
    State,
    decoded,
    pack_owner,
    pack_state,
    read_counters,
    read_layout,
    read_state,
    write_counters,
)
from sola_scale.store.changes import LogEntry
from sola_scale.store.changeset import Changeset
from sola_scale.store.keyrows import row_bytes
from sola_scale.store.prompts import hash_of, put_hashes
from sola_scale.store.records import EditStatus, Event, Operation
from sola_scale.store.reports import VerifyReport
from sola_scale.store.segments import entries, entry, place
from sola_scale.store.stored import erase_text, read_stored
from sola_scale.store.tables import SEGMENTED, Table, retrieval
from sola_scale.store.transaction import WriteTransaction
from sola_scale.store.values import pack_id, unpack_id

_DERIVED = (Table.PROMPTS, Table.KEYS, Table.CHAINS)


def repair(txn: WriteTransaction, report: VerifyReport, at: int) -> VerifyReport:
    """Repair what a report names, in one transaction; returns the report with what was done."""
    tables = {damage.table for damage in report.damages}
    damaged = sorted({d.edit_id for d in report.damages if d.edit_id is not None})
    done = [*_restore_frames(txn, damaged), *_drop_history(txn, tables), *_cut_log(txn, tables)]
    done += _drop_strays(txn)
    states = {edit_id: read_state(txn, edit_id) for edit_id in range(1, read_counters(txn).next_edit)}
    done += [_REBUILD[table](txn, states) for table in _DERIVED if table in tables or damaged]
    report.quarantined = _quarantine(txn, damaged, states, at)
    report.repaired = tuple(done)
    return report


def _restore_frames(txn: WriteTransaction, damaged: Collection[int]) -> list[str]:
    """Give edits whose state or record is lost a bare one, so that they can be quarantined and listed."""
    done = []
    for edit_id in damaged:
        try:
            read_state(txn, edit_id)
        except (CorruptRecordError, UnknownEditError):
            txn.put(Table.STATES, pack_id(edit_id), pack_state(_guessed_state(txn, edit_id)))
            done.append(f"state of edit {edit_id} rebuilt")
        try:
            read_stored(txn, edit_id)
        except CorruptRecordError:
            erase_text(txn, edit_id)
            done.append(f"record of edit {edit_id} emptied: its text was unreadable")
    return done


def _guessed_state(txn: WriteTransaction, edit_id: int) -> State:
    """The state of an edit from what other tables say of it; not live."""
    layout, generation = read_layout(txn), read_counters(txn).generation
    payload, _ = entry(txn.raw(retrieval(generation), pack_id(place(edit_id)[0])), edit_id)
    rows = len(payload) // row_bytes(layout)[0] if payload is not None and layout is not None else 0
    chains = {unpack_id(key, 8): unpack_id(key) for key, _ in txn.scan(Table.CHAINS)}
    return State(EditStatus.SUPERSEDED, rows, 0, chains.get(edit_id, edit_id))


def _drop_history(txn: WriteTransaction, tables: Collection[str]) -> list[str]:
    """Drop events that cannot be read."""
    done = []
    for key in [key for key, _ in txn.scan(Table.HISTORY)] if Table.HISTORY in tables else ():
        try:
            decoded(list[Event], txn.get(Table.HISTORY, key) or b"", "history")
        except CorruptRecordError:
            txn.delete(Table.HISTORY, key)
            done.append(f"an unreadable event of edit {unpack_id(key)} dropped")
    return done


def _cut_log(txn: WriteTransaction, tables: Collection[str]) -> list[str]:
    """Truncate the log up to its last unreadable entry: who follows it starts afresh."""
    if Table.LOG not in tables:
        return []
    counters = read_counters(txn)
    for seq in range(counters.last_seq, counters.low_water, -1):
        try:
            decoded(LogEntry, txn.get(Table.LOG, pack_id(seq)) or b"", "a log entry")
        except CorruptRecordError:
            for gone in range(counters.low_water + 1, seq + 1):
                txn.delete(Table.LOG, pack_id(gone))
            counters.low_water = seq
            write_counters(txn, counters)
            return [f"log truncated up to entry {seq}, which was unreadable"]
    return []


def _drop_strays(txn: WriteTransaction) -> list[str]:
    """Erase contents of purged or never written edits."""
    done = []
    for table in SEGMENTED:
        held = [edit_id for key, value in txn.scan(table) for edit_id, _, _ in entries(unpack_id(key), value)]
        strays = [edit_id for edit_id in held if _is_stray(txn, edit_id)]
        txn.put_segments(table, dict.fromkeys(strays))
        done += [f"stray bytes of edit {edit_id} erased from table '{table}'" for edit_id in strays]
    return done


def _is_stray(txn: WriteTransaction, edit_id: int) -> bool:
    try:
        return read_state(txn, edit_id).status is EditStatus.PURGED
    except UnknownEditError:
        return True


def _rebuild_prompts(txn: WriteTransaction, states: dict[int, State]) -> str:
    txn.clear(Table.PROMPTS)
    put_hashes(txn, {edit_id: hash_of(read_stored(txn, edit_id).prompt) for edit_id in states})
    return "table 'prompts' rebuilt from the records"


def _rebuild_keys(txn: WriteTransaction, states: dict[int, State]) -> str:
    txn.clear(Table.KEYS)
    live = sorted((state.first_key, edit_id) for edit_id, state in states.items() if state.first_key)
    for first, edit_id in live:
        for row in range(states[edit_id].rows):
            txn.append(Table.KEYS, pack_id(first + row), pack_owner(edit_id, row))
    return "table 'keys' rebuilt from the states"


def _rebuild_chains(txn: WriteTransaction, states: dict[int, State]) -> str:
    txn.clear(Table.CHAINS)
    for root, ids in sorted(chains_of(states).items()):
        for edit_id in ids if len(ids) > 1 else ():
            txn.append(Table.CHAINS, pack_id(root) + pack_id(edit_id), b"")
    return "table 'chains' rebuilt from the states"


_REBUILD = {Table.PROMPTS: _rebuild_prompts, Table.KEYS: _rebuild_keys, Table.CHAINS: _rebuild_chains}


def _quarantine(
    txn: WriteTransaction, damaged: Collection[int], states: dict[int, State], at: int
) -> tuple[int, ...]:
    """Stop damaged edits and settle every chain anew."""
    change = Changeset(txn, Operation.QUARANTINE, at)
    stopped = [e for e in damaged if states[e].status not in (EditStatus.QUARANTINED, EditStatus.PURGED)]
    for edit_id in stopped:
        change.mark(edit_id, EditStatus.QUARANTINED, "damaged on disk")
    change.settle(state.chain for state in states.values())
    change.finish()
    return tuple(stopped)
