"""Records: assembled from their parts, filtered, listed page by page."""

from collections.abc import Iterable

from sola_scale.errors import CorruptRecordError
from sola_scale.store.bookkeeping import State, read_counters, read_layout, read_state, unpack_state
from sola_scale.store.records import EditFilter, EditRecord, EditStatus, Event, Operation
from sola_scale.store.stored import StoredRecord, read_events, read_stored
from sola_scale.store.tables import Table
from sola_scale.store.transaction import ReadTransaction
from sola_scale.store.values import pack_id, unpack_id, unseal

_PAGE = 1024


def read_record(txn: ReadTransaction, edit_id: int) -> EditRecord:
    """One edit's record; raises UnknownEditError or CorruptRecordError."""
    state = read_state(txn, edit_id)
    return _assembled(txn, edit_id, state, read_stored(txn, edit_id), _calibration(txn))


def filtered_page(txn: ReadTransaction, where: EditFilter, after: int) -> tuple[list[EditRecord], int | None]:
    """Matching records of the next page of edits beyond `after`, and where the following one starts, if any."""
    page = scan_states(txn, after, _PAGE)
    following = page[-1][0] if len(page) == _PAGE else None
    return _matching(txn, where, page), following


def named_records(txn: ReadTransaction, where: EditFilter) -> list[EditRecord]:
    """Matching records among the ids that a filter names."""
    known = sorted(e for e in set(where.ids or ()) if 0 < e < read_counters(txn).next_edit)
    states = (found for edit_id in known for found in scan_states(txn, edit_id - 1, 1))
    return _matching(txn, where, states)


def _matching(
    txn: ReadTransaction, where: EditFilter, states: Iterable[tuple[int, State]]
) -> list[EditRecord]:
    calibration, found = _calibration(txn), []
    for edit_id, state in states:
        if where.status is not None and state.status not in where.status:
            continue
        try:
            stored = read_stored(txn, edit_id)
            # Most records fail here, before their history is read.
            if not where.fits(stored):
                continue
            record = _assembled(txn, edit_id, state, stored, calibration)
        except CorruptRecordError as error:
            record = _unreadable(edit_id, state, error)
        if where.matches(record):
            found.append(record)
    return found


def _calibration(txn: ReadTransaction) -> int:
    layout = read_layout(txn)
    return layout.calibration if layout else 0


def _assembled(
    txn: ReadTransaction, edit_id: int, state: State, stored: StoredRecord, calibration: int
) -> EditRecord:
    first = Event(stored.seq, stored.created_at, Operation.WRITE)
    return EditRecord(
        id=edit_id,
        prompt=stored.prompt,
        target=stored.target,
        paraphrases=stored.paraphrases,
        tags=stored.tags,
        source=stored.source,
        created_at=stored.created_at,
        status=state.status,
        supersedes=stored.supersedes or None,
        chain=state.chain,
        calibration=calibration,
        details=stored.details,
        key_ids=tuple(range(state.first_key, state.first_key + state.rows)) if state.first_key else (),
        history=(first, *read_events(txn, edit_id)),
    )


def _unreadable(edit_id: int, state: State, error: CorruptRecordError) -> EditRecord:
    """What is listed in the place of a record that cannot be read, so that the list goes on."""
    return EditRecord(
        id=edit_id,
        prompt="",
        target="",
        paraphrases=(),
        tags=(),
        source=None,
        created_at=0,
        status=EditStatus.QUARANTINED,
        supersedes=None,
        chain=state.chain,
        calibration=0,
        details={},
        key_ids=(),
        history=(Event(0, 0, Operation.QUARANTINE, str(error)),),
    )


def scan_states(txn: ReadTransaction, after: int, limit: int) -> list[tuple[int, State]]:
    """Ids and states of up to `limit` edits beyond `after`; one that cannot be read counts as quarantined."""
    found: list[tuple[int, State]] = []
    for key, value in txn.scan(Table.STATES, pack_id(after + 1)):
        edit_id = unpack_id(key)
        try:
            state = unpack_state(unseal(Table.STATES, key, value, edit_id), edit_id)
        except CorruptRecordError:
            state = State(EditStatus.QUARANTINED, 0, 0, edit_id)
        found.append((edit_id, state))
        if len(found) == limit:
            break
    return found
