"""The layout of a payload: where in an adapter's bytes what lies, and how they become numbers.

Payload, little-endian::

    header   magic u8, layout index u8, precision u8, rank u8, maps u8, reserved u8, group size u16
    shapes   per map: d_in u32, d_out u32
    scales   int3, int4 and int8 only: one float16 per group
    numbers  map by map A then B, each padded with zeros to whole groups; int4 packs two a byte, the lower first;
             int3 has the lower two bits of all codes first, four codes a byte, then the third bits, eight a byte

A group is ``group size`` consecutive numbers of one matrix that share a scale: ``number = code * scale``. The eight codes
of int3 lie between the integers, from -3.5 to 3.5, and its scale is the one that changes the group least.
Shape legend: G groups, N numbers in all.
"""

import functools
import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sola_scale.errors import CorruptRecordError

Precision = Literal["int4", "int8", "fp16", "fp32", "int3"]
PRECISIONS: tuple[Precision, ...] = ("int4", "int8", "fp16", "fp32", "int3")
"""The formats, in the order of their numbers in a payload's header."""

_MAGIC = 0xA5
_HEADER = struct.Struct("<BBBBBBH")
_SHAPE = struct.Struct("<II")
_MAPS_AT = 4
_MAX_NUMBERS = 1 << 28
_BITS = {"int3": 3, "int4": 4, "int8": 8, "fp16": 16, "fp32": 32}
# Both codes of a byte, two float32 seen as one uint64: a single look-up dequantises two numbers.
_NIBBLES = (
    np.stack([((np.arange(256) & 15) - 8).astype("<f4"), ((np.arange(256) >> 4) - 8).astype("<f4")], axis=1)
    .view(np.uint64)
    .reshape(-1)
)
# int3 is looked up in two tables, small enough to stay in the nearest cache: the four lower halves in a byte of lower
# bits, and what the eight third bits of a byte add to them, with the shift by which the codes lie between the integers.
_BYTE = np.arange(256)[:, None]
_LOWER = ((_BYTE >> np.arange(0, 8, 2)) & 3).astype("<f4")
_THIRD = (4 * ((_BYTE >> np.arange(8)) & 1) - 3.5).astype("<f4")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where in a payload what lies; the same for all payloads with the same head."""

    layout_index: int
    """Which of a store's layouts this is an adapter of."""
    precision: Precision
    """How the numbers are stored."""
    rank: int
    """Rank of every change."""
    group: int
    """Numbers that share a scale."""
    size: int
    """Numbers in the adapter."""
    padded: int
    """The same with the padding between matrices."""
    scales_at: int
    """Byte at which the scales begin, or the numbers where there are none."""
    numbers_at: int
    """Byte at which the numbers begin."""
    length: int
    """Bytes in the payload."""
    spans: tuple[tuple[int, int], ...]
    """Where each matrix begins and ends among the padded numbers."""

    def decode(self, payload: bytes | memoryview, row_N: np.ndarray) -> None:
        """Write the weights into one float32 row, ``A`` then ``B`` of every map, one after the other.

        Raises:
            CorruptRecordError: the payload does not fill the row exactly; then nothing was written.
        """
        if row_N.size != self.size:
            raise CorruptRecordError(f"an adapter of {self.size} numbers does not fit a slot of {row_N.size}")
        if self.size == self.padded and row_N.flags.c_contiguous:
            self.unpack(payload, row_N)
            return
        numbers_N, end = np.empty(self.padded, np.float32), 0
        self.unpack(payload, numbers_N)
        for start, stop in self.spans:
            row_N[end : end + stop - start] = numbers_N[start:stop]
            end += stop - start

    def unpack(self, payload: bytes | memoryview, out_N: np.ndarray) -> None:
        """Write all numbers, padding included, into ``out_N``, float32 and contiguous."""
        if self.precision in ("fp16", "fp32"):
            dtype = "<f2" if self.precision == "fp16" else "<f4"
            out_N[:] = np.frombuffer(payload, dtype, offset=self.numbers_at)
            return
        codes = np.frombuffer(payload, np.uint8, offset=self.numbers_at)
        if self.precision == "int3":
            self._join(codes, out_N)
        elif self.precision == "int4":
            # Codes are bytes, so no index can be out of range: "clip" only spares numpy a checking pass and a copy.
            _NIBBLES.take(codes, out=out_N.view(np.uint64), mode="clip")
        else:
            out_N[:] = codes.view(np.int8)
        scales_G1 = np.frombuffer(payload, "<f2", len(out_N) // self.group, self.scales_at).reshape(-1, 1)
        grouped_GN = out_N.reshape(-1, self.group)
        np.multiply(grouped_GN, scales_G1.astype(np.float32), out=grouped_GN)

    def _join(self, codes: np.ndarray, out_N: np.ndarray) -> None:
        """Add up the lower two bits and the third bit of every int3 code."""
        low = self.padded // 4
        _LOWER.take(codes[:low], 0, out_N.reshape(-1, 4), "clip")
        eights = out_N.reshape(-1, 8)
        np.add(eights, _THIRD.take(codes[low:], 0, None, "clip"), eights)


def plan_of(payload: bytes | memoryview) -> Plan:
    """Read the head of a payload and hold its length against it.

    Raises:
        CorruptRecordError: the payload is not one, or is cut short.
    """
    if len(payload) < _HEADER.size:
        raise CorruptRecordError("an adapter's payload is shorter than its header")
    plan = _plan_of_head(bytes(payload[: _HEADER.size + payload[_MAPS_AT] * _SHAPE.size]))
    if len(payload) != plan.length:
        raise CorruptRecordError("an adapter's payload does not have the length that its header states")
    return plan


def head(index: int, precision: Precision, rank: int, group: int, shapes: list[tuple[int, int]]) -> bytes:
    """The header and shapes of a payload."""
    header = _HEADER.pack(_MAGIC, index, PRECISIONS.index(precision), rank, len(shapes), 0, group)
    return b"".join([header, *(_SHAPE.pack(*shape) for shape in shapes)])


def unit(precision: Precision) -> int:
    """Return what the size of a group is a multiple of, so that groups fill whole bytes."""
    return 8 if precision == "int3" else 2


# A store has few layouts and precisions: working the same head out anew for every edit would rule the page-in.
@functools.lru_cache(maxsize=64)
def _plan_of_head(start: bytes) -> Plan:
    magic, index, precision, rank, maps, reserved, group = _HEADER.unpack_from(start)
    known = magic == _MAGIC and precision < len(PRECISIONS) and not reserved
    if not (known and rank and maps and group) or group % unit(PRECISIONS[precision]):
        raise CorruptRecordError("an adapter's payload has no valid header")
    if len(start) < _HEADER.size + maps * _SHAPE.size:
        raise CorruptRecordError("an adapter's payload ends inside its shapes")
    widths = [width for shape in _SHAPE.iter_unpack(start[_HEADER.size :]) for width in shape]
    spans, end = [], 0
    for width in widths:
        spans.append((end, end + rank * width))
        end += -(-rank * width // group) * group
    if end > _MAX_NUMBERS:
        raise CorruptRecordError("an adapter's payload claims more numbers than any adapter has")
    name = PRECISIONS[precision]
    numbers_at = len(start) + (2 * end // group if name in ("int3", "int4", "int8") else 0)
    return Plan(
        layout_index=index,
        precision=name,
        rank=rank,
        group=group,
        size=rank * sum(widths),
        padded=end,
        scales_at=len(start),
        numbers_at=numbers_at,
        length=numbers_at + end * _BITS[name] // 8,
        spans=tuple(spans),
    )
