"""Sealed values: a format byte, the payload, and a checksum that also binds the value to its key."""

import struct
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from xxhash import xxh3_64_intdigest

from sola_scale.errors import CorruptRecordError

Buffer: TypeAlias = bytes | memoryview

VALUE_FORMAT = 1
"""First byte of every value."""

_DIGEST = struct.Struct("<Q")
_ID = struct.Struct(">Q")
_HEAD = bytes([VALUE_FORMAT])
OVERHEAD = len(_HEAD) + _DIGEST.size
"""Bytes a seal adds."""


def pack_id(number: int) -> bytes:
    """An id as a key; big-endian, so that keys sort as numbers do."""
    return _ID.pack(number)


def unpack_id(key: Buffer, at: int = 0) -> int:
    """The id in a key, from byte `at`."""
    return int(_ID.unpack_from(key, at)[0])


def seal(key: bytes, payload: Buffer) -> bytes:
    """The value to store under `key`."""
    return b"".join((_HEAD, payload, _DIGEST.pack(digest(key, payload))))


def seal_all(keys: Iterable[bytes], payloads: Iterable[Buffer]) -> list[tuple[bytes, bytes]]:
    """Keys with the values to store under them: `seal` for many, where a call for each would cost as much again."""
    pack, checksum, head = _DIGEST.pack, xxh3_64_intdigest, _HEAD
    return [
        (key, b"".join((head, payload, pack(checksum(payload, seed=checksum(key))))))
        for key, payload in zip(keys, payloads, strict=True)
    ]


def pack_range(first: int, count: int) -> list[bytes]:
    """Consecutive ids as keys."""
    packed = np.arange(first, first + count, dtype=">u8").tobytes()
    return [packed[at : at + _ID.size] for at in range(0, len(packed), _ID.size)]


def unseal(table: str, key: bytes, value: Buffer, edit_id: int | None = None) -> Buffer:
    """The payload of a stored value, a slice of it.

    Raises:
        CorruptRecordError: The checksum does not fit, or the value belongs to another key.
    """
    end = len(value) - _DIGEST.size
    if end < 1 or value[0] != VALUE_FORMAT or _DIGEST.unpack_from(value, end)[0] != digest(key, value[1:end]):
        owner = "" if edit_id is None else f" of edit {edit_id}"
        raise CorruptRecordError(
            f"a value{owner} in table '{table}' is damaged (key {bytes(key).hex()})", edit_id
        )
    return value[1:end]


def digest(key: bytes, payload: Buffer) -> int:
    """Checksum of a payload under its key: xxh3, seeded so that a value found under another key is refused."""
    return xxh3_64_intdigest(payload, seed=xxh3_64_intdigest(key))
