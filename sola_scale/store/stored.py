"""The immutable part of an edit's record as it lies on disk, and the events of its history."""

import msgspec

from sola_scale.errors import CorruptRecordError, RequestError
from sola_scale.store.bookkeeping import decoded
from sola_scale.store.limits import MAX_RECORD
from sola_scale.store.records import Detail, Event, NewEdit
from sola_scale.store.tables import Table, retrieval, verification
from sola_scale.store.transaction import ReadTransaction, WriteTransaction, ids_below
from sola_scale.store.values import Buffer, pack_id, unpack_id


class StoredRecord(msgspec.Struct, frozen=True, array_like=True):
    """What is written once and, but for a purge, never again."""

    created_at: int
    """Nanoseconds since the epoch."""
    seq: int
    """Transaction that wrote it."""
    supersedes: int
    """Edit it took over from, 0 for none."""
    prompt: str = ""
    """The edited prompt."""
    target: str = ""
    """The new answer."""
    paraphrases: tuple[str, ...] = ()
    """Given rewordings."""
    tags: tuple[str, ...] = ()
    """Labels."""
    source: str | None = None
    """Origin."""
    details: dict[str, Detail] = {}
    """Training figures."""

    def erased(self) -> "StoredRecord":
        """The record without anything that a person wrote."""
        return StoredRecord(self.created_at, self.seq, self.supersedes)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredRecord)


def encode(edit: NewEdit, created_at: int, seq: int) -> bytes:
    """The stored form of a new edit's record; raises RequestError where it is too large or holds odd things."""
    texts = edit.prompt, edit.target, tuple(edit.paraphrases), tuple(edit.tags), edit.source
    stored = StoredRecord(created_at, seq, edit.supersedes or 0, *texts, edit.details or {})
    try:
        payload = _encoder.encode(stored)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"the record cannot be encoded: {error}") from error
    if len(payload) > MAX_RECORD:
        raise RequestError(f"the record takes {len(payload):,} bytes; the limit is {MAX_RECORD:,}")
    return payload


def decode(payload: Buffer, edit_id: int) -> StoredRecord:
    """A stored record; raises CorruptRecordError."""
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise CorruptRecordError(f"the record of edit {edit_id} is malformed: {error}", edit_id) from error


def read_stored(txn: ReadTransaction, edit_id: int) -> StoredRecord:
    """The stored record of an edit that has a state."""
    payload = txn.get(Table.RECORDS, pack_id(edit_id), edit_id)
    if payload is None:
        raise CorruptRecordError(f"edit {edit_id} is missing from table 'records'", edit_id)
    return decode(payload, edit_id)


def check_intact(txn: ReadTransaction, edit_id: int, generation: int) -> None:
    """Raise CorruptRecordError where an edit's text, weights or keys are damaged: then it must not fire."""
    read_stored(txn, edit_id)
    for table in (Table.WEIGHTS, retrieval(generation), verification(generation)):
        txn.segment_reader(table)(edit_id)


def erase_text(txn: WriteTransaction, edit_id: int) -> None:
    """Overwrite a record by its bare frame; a damaged one loses its dates, too."""
    try:
        frame = read_stored(txn, edit_id).erased()
    except CorruptRecordError:
        frame = StoredRecord(0, 0, 0)
    txn.put(Table.RECORDS, pack_id(edit_id), _encoder.encode(frame))


def history_key(edit_id: int, seq: int) -> bytes:
    """Where an event of an edit lies."""
    return pack_id(edit_id) + pack_id(seq)


def write_event(txn: WriteTransaction, edit_id: int, event: Event) -> None:
    """Add an event to an edit's history; a second one of the same transaction goes beside the first."""
    key = history_key(edit_id, event.seq)
    earlier = txn.get(Table.HISTORY, key, edit_id)
    events = decoded(list[Event], earlier, "history", edit_id) if earlier is not None else []
    txn.put(Table.HISTORY, key, _encoder.encode([*events, event]))


def read_events(txn: ReadTransaction, edit_id: int) -> list[Event]:
    """What happened to an edit after it was written, oldest first."""
    found: list[Event] = []
    for key, _ in txn.scan(Table.HISTORY, pack_id(edit_id)):
        if unpack_id(key) != edit_id:
            break
        found += decoded(list[Event], txn.get(Table.HISTORY, key, edit_id) or b"\x90", "history", edit_id)
    return found


def erase_notes(txn: WriteTransaction, edit_id: int) -> None:
    """Keep what happened to an edit and when, without the words."""
    for seq in ids_below(txn, Table.HISTORY, pack_id(edit_id)):
        key = history_key(edit_id, seq)
        events = decoded(list[Event], txn.get(Table.HISTORY, key, edit_id) or b"\x90", "history", edit_id)
        bare = [Event(event.seq, event.at, event.operation) for event in events]
        txn.put(Table.HISTORY, key, _encoder.encode(bare))
