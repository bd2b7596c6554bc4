"""Segments: the payloads of consecutive edits packed into one value, so that pages are filled.

A value of a little over 2,020 bytes would take a 4,096-byte page of its own. Edit e therefore lies in segment
e // SPAN, at place e % SPAN of its table of (offset, length, checksum); the checksum is seeded with the edit id.

    format 1 B | span 1 B | reserved 6 B | SPAN x (offset u32, length u32, xxh3 u64) | payloads
"""

import struct
from collections.abc import Iterator, Mapping
from itertools import chain

from xxhash import xxh3_64_intdigest

from sola_scale.errors import CorruptRecordError
from sola_scale.store.values import VALUE_FORMAT, Buffer

SPAN = 62
"""Edits per segment. Large enough that the last, half-filled page hardly counts; small enough that a single write
rewrites little; and 62 rows of a power of two bytes, with their table, fill just as many pages as 64 bare ones."""

_HEAD = struct.Struct("<BB6x")
_ENTRY = struct.Struct("<IIQ")
_ABSENT = (0, 0, 0)
_TABLE = struct.Struct("<BB6x" + SPAN * "IIQ")
_BODY = _TABLE.size


def place(edit_id: int) -> tuple[int, int]:
    """Number of the segment and place in it."""
    return divmod(edit_id, SPAN)


def find(table: str, segment: Buffer | None, edit_id: int) -> memoryview:
    """The checked payload of an edit, a view into its segment.

    Raises:
        CorruptRecordError: It is missing or fails its checksum.
    """
    payload, checksum = entry(segment, edit_id)
    if payload is None or xxh3_64_intdigest(payload, seed=edit_id) != checksum:
        missing = "missing from" if payload is None else "damaged in"
        raise CorruptRecordError(f"edit {edit_id} is {missing} table '{table}'", edit_id)
    return payload


def entry(segment: Buffer | None, edit_id: int) -> tuple[memoryview | None, int]:
    """The payload of an edit as it lies there, unchecked, and its checksum; None where there is none."""
    if segment is None or len(segment) < _BODY or segment[0] != VALUE_FORMAT or segment[1] != SPAN:
        return None, 0
    offset, length, checksum = _ENTRY.unpack_from(segment, _HEAD.size + edit_id % SPAN * _ENTRY.size)
    # An absent entry is all zeros, so its offset lies in the table; a payload of no bytes is a payload all the same.
    if offset < _BODY or offset + length > len(segment):
        return None, 0
    return memoryview(segment)[offset : offset + length], checksum


def entries(number: int, segment: Buffer) -> Iterator[tuple[int, memoryview, int]]:
    """Edit id, unchecked payload and checksum of all that a segment holds."""
    for edit_id in range(number * SPAN, (number + 1) * SPAN):
        payload, checksum = entry(segment, edit_id)
        if payload is not None:
            yield edit_id, payload, checksum


def rebuilt(number: int, segment: Buffer | None, changes: Mapping[int, Buffer | None]) -> bytes | None:
    """The segment after changes (None takes an edit out); None when nothing is left.

    What stays is copied with its old checksum, unchecked: damage stays visible as damage.
    """
    kept: dict[int, tuple[Buffer, int]] = {}
    if segment is not None:
        kept = {e: (p, c) for e, p, c in entries(number, segment) if e not in changes}
    for edit_id, payload in changes.items():
        if payload is not None:
            kept[edit_id] = (payload, xxh3_64_intdigest(payload, seed=edit_id))
    return _packed(number, kept) if kept else None


def _packed(number: int, kept: Mapping[int, tuple[Buffer, int]]) -> bytes:
    """A segment value of the given payloads and their checksums."""
    table, bodies, offset = [_ABSENT] * SPAN, [], _BODY
    for edit_id in sorted(kept):
        payload, checksum = kept[edit_id]
        table[edit_id - number * SPAN] = offset, len(payload), checksum
        bodies.append(payload)
        offset += len(payload)
    return b"".join((_TABLE.pack(VALUE_FORMAT, SPAN, *chain.from_iterable(table)), *bodies))
