"""The small fixed things beside the edits: counters, the layout of keys, the state of one edit."""

import struct
from enum import IntEnum
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from sola_scale.errors import CorruptRecordError, UnknownEditError
from sola_scale.store.records import EditStatus, StoreManifest
from sola_scale.store.tables import Table
from sola_scale.store.transaction import ReadTransaction, WriteTransaction
from sola_scale.store.values import Buffer, pack_id

T = TypeVar("T")

FORMAT_VERSION = 1
"""The on-disk format this version writes."""

_MANIFEST = b"manifest"
_COUNTERS = b"counters"
_LAYOUT = b"keys"
_STATE = struct.Struct("<BHQQ")
_OWNER = struct.Struct("<QH")
_STATUSES = tuple(EditStatus)
_CODES = {status: code for code, status in enumerate(_STATUSES)}


class Counters(msgspec.Struct, array_like=True):
    """What grows only, and the key generation that serves."""

    next_edit: int = 1
    """Next edit id."""
    next_key: int = 1
    """Next key id."""
    last_seq: int = 0
    """Newest log entry."""
    low_water: int = 0
    """Newest log entry that was truncated."""
    generation: int = 0
    """Which pair of key tables serves."""


class RowType(IntEnum):
    """Number type of retrieval rows, as stored."""

    FLOAT16 = 0
    FLOAT32 = 1

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type."""
        return np.dtype(np.float16 if self is RowType.FLOAT16 else np.float32)


class KeyLayout(msgspec.Struct, frozen=True, array_like=True):
    """What all keys of one generation have in common."""

    calibration: int
    """The calibration that made them."""
    row_type: RowType
    """Number type of retrieval rows."""
    retrieval_width: int
    """Numbers in a retrieval row."""
    verification_width: int
    """Numbers in a verification row."""


class State(NamedTuple):
    """The changing part of an edit."""

    status: EditStatus
    """Where it stands."""
    rows: int
    """Keys it has."""
    first_key: int
    """First of its active key ids, 0 when it is not live."""
    chain: int
    """Oldest edit of its chain."""


def decoded(kind: type[T], payload: Buffer, what: str, edit_id: int | None = None) -> T:
    """A msgpack payload as a checked structure."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except msgspec.MsgspecError as error:
        raise CorruptRecordError(f"{what} does not read as {kind.__name__}: {error}", edit_id) from error


def _meta(txn: ReadTransaction, name: bytes, kind: type[T]) -> T | None:
    payload = txn.get(Table.META, name)
    return None if payload is None else decoded(kind, payload, name.decode())


def read_manifest(txn: ReadTransaction) -> StoreManifest:
    """The manifest; raises CorruptRecordError where there is none."""
    found = _meta(txn, _MANIFEST, StoreManifest)
    if found is None:
        raise CorruptRecordError("the store has no manifest")
    return found


def write_manifest(txn: WriteTransaction, manifest: StoreManifest) -> None:
    """Set the manifest."""
    txn.put(Table.META, _MANIFEST, msgspec.msgpack.encode(manifest))


def read_counters(txn: ReadTransaction) -> Counters:
    """The counters, all at their start in a fresh store."""
    return _meta(txn, _COUNTERS, Counters) or Counters()


def write_counters(txn: WriteTransaction, counters: Counters) -> None:
    """Set the counters."""
    txn.put(Table.META, _COUNTERS, msgspec.msgpack.encode(counters))


def read_layout(txn: ReadTransaction) -> KeyLayout | None:
    """The layout of keys; None before the first write."""
    return _meta(txn, _LAYOUT, KeyLayout)


def write_layout(txn: WriteTransaction, layout: KeyLayout) -> None:
    """Set the layout of keys."""
    txn.put(Table.META, _LAYOUT, msgspec.msgpack.encode(layout))


def pack_state(state: State) -> bytes:
    """A state as stored."""
    return _STATE.pack(_CODES[state.status], state.rows, state.first_key, state.chain)


def unpack_state(payload: Buffer, edit_id: int) -> State:
    """A stored state."""
    try:
        code, rows, first_key, chain = _STATE.unpack(payload)
        return State(_STATUSES[code], rows, first_key, chain)
    except (struct.error, IndexError) as error:
        raise CorruptRecordError(f"the state of edit {edit_id} is malformed", edit_id) from error


def read_state(txn: ReadTransaction, edit_id: int) -> State:
    """The state of an edit; raises UnknownEditError."""
    known = 0 < edit_id < 1 << 64
    payload = txn.get(Table.STATES, pack_id(edit_id), edit_id) if known else None
    if payload is None:
        raise UnknownEditError(f"there is no edit {edit_id}")
    return unpack_state(payload, edit_id)


def pack_owner(edit_id: int, row: int) -> bytes:
    """Whose key and which row of it, as stored."""
    return _OWNER.pack(edit_id, row)


def unpack_owner(payload: Buffer) -> tuple[int, int]:
    """A stored owner."""
    edit_id, row = _OWNER.unpack(payload)
    return edit_id, row
