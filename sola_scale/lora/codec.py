"""Adapters as bytes: a self-describing payload of 3-, 4-, 8-, 16- or 32-bit numbers, decoded in one pass.

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
import torch
from torch import Tensor

from sola_scale.errors import CorruptRecordError, TrainingError
from sola_scale.lora.adapter import Adapter

Precision = Literal["int4", "int8", "fp16", "fp32", "int3"]
PRECISIONS: tuple[Precision, ...] = ("int4", "int8", "fp16", "fp32", "int3")
"""The formats, in the order of their numbers in a payload's header."""
_GROUPED: dict[Precision, int] = {"int3": 3, "int4": 4, "int8": 8}

_MAGIC = 0xA5
_HEADER = struct.Struct("<BBBBBBH")
_SHAPE = struct.Struct("<II")
_GROUP = 64
_MAX_NUMBERS = 1 << 28
# Both codes of a byte, two float32 seen as one uint64: a single look-up dequantises two numbers.
_NIBBLES = (
    np.stack([((np.arange(256) & 15) - 8).astype("<f4"), ((np.arange(256) >> 4) - 8).astype("<f4")], axis=1)
    .view(np.uint64)
    .reshape(-1)
)
_BYTES = np.arange(256)[:, None]
# The numbers that a byte of either plane of int3 stands for; a code's number is the sum of both.
_LOW_BITS = (((_BYTES >> np.arange(0, 8, 2)) & 3) - 3.5).astype(np.float32)
_HIGH_BITS = (((_BYTES >> np.arange(8)) & 1) * 4).astype(np.float32)
# Shares of the largest number that may become the largest code: a little clipping costs less than coarser steps.
_CLIPS = np.linspace(0.7, 1.0, 7)


def encode(adapter: Adapter, precision: Precision = "int4", *, group: int = _GROUP) -> bytes:
    """Return the payload of an adapter.

    Args:
        adapter: finite weights.
        precision: format of the stored numbers.
        group: consecutive numbers that share a scale; even, for ``int3`` a multiple of 8.

    Raises:
        TrainingError: a weight is not finite, the precision is unknown, or the group does not suit it.
    """
    if precision not in PRECISIONS:
        raise TrainingError(f"unknown precision {precision!r}; known are {', '.join(PRECISIONS)}")
    if group < 1 or group % _unit(precision):
        raise TrainingError(f"groups of {group} numbers do not suit {precision}")
    parts = [_padded(part, group) for pair in adapter.balanced().pairs() for part in pair]
    numbers_N = np.concatenate(parts)
    if not np.isfinite(numbers_N).all():
        raise TrainingError("an adapter with numbers that are not finite cannot be stored")
    shapes = [(a.shape[1], b.shape[1]) for a, b in adapter.pairs()]
    head = (_MAGIC, adapter.layout_index, PRECISIONS.index(precision), adapter.rank, len(shapes), 0, group)
    return b"".join(
        [_HEADER.pack(*head), *(_SHAPE.pack(*shape) for shape in shapes), _pack(numbers_N, precision, group)]
    )


def decode(payload: bytes | memoryview) -> Adapter:
    """Return the adapter of a payload.

    Raises:
        CorruptRecordError: the payload is not one, or is cut short.
    """
    plan = _plan(payload)
    numbers_N = _unpack(payload, plan, np.empty(plan.padded, np.float32))
    parts = [
        torch.from_numpy(numbers_N[start:stop].reshape(plan.rank, -1).copy()) for start, stop in plan.spans
    ]
    return Adapter(layout_index=plan.layout_index, a_rI=tuple(parts[0::2]), b_rO=tuple(parts[1::2]))


def decode_row(payload: bytes | memoryview, row_N: np.ndarray) -> None:
    """Write a payload's weights into one float32 row, ``A`` then ``B`` of every map, one after the other.

    Raises:
        CorruptRecordError: the payload is not one, or does not fill the row exactly; then nothing was written.
    """
    plan = _plan(payload)
    if row_N.size != plan.size:
        raise CorruptRecordError(f"an adapter of {plan.size} numbers does not fit a slot of {row_N.size}")
    if plan.size == plan.padded and row_N.flags.c_contiguous:
        _unpack(payload, plan, row_N)
        return
    numbers_N = _unpack(payload, plan, np.empty(plan.padded, np.float32))
    end = 0
    for start, stop in plan.spans:
        row_N[end : end + stop - start] = numbers_N[start:stop]
        end += stop - start


def payload_class(payload: bytes | memoryview) -> int:
    """Return the index of the layout that a payload is an adapter of.

    Raises:
        CorruptRecordError: the payload is not one.
    """
    return _header(payload)[1]


def payload_precision(payload: bytes | memoryview) -> Precision:
    """Return the number format of a payload.

    Raises:
        CorruptRecordError: the payload is not one.
    """
    return PRECISIONS[_header(payload)[2]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where in a payload what lies."""

    layout_index: int
    precision: Precision
    rank: int
    group: int
    size: int
    padded: int
    offset: int
    spans: tuple[tuple[int, int], ...]


def _header(payload: bytes | memoryview) -> tuple[int, int, int, int, int, int, int]:
    if len(payload) < _HEADER.size:
        raise CorruptRecordError("an adapter's payload is shorter than its header")
    magic, index, precision, rank, maps, reserved, group = _HEADER.unpack_from(payload)
    if (
        magic != _MAGIC
        or precision >= len(PRECISIONS)
        or not rank
        or not maps
        or reserved
        or not group
        or group % _unit(PRECISIONS[precision])
    ):
        raise CorruptRecordError("an adapter's payload has no valid header")
    return magic, index, precision, rank, maps, reserved, group


def _unit(precision: Precision) -> int:
    """Return what the size of a group is a multiple of, so that groups fill whole bytes."""
    return 8 if precision == "int3" else 2


def _plan(payload: bytes | memoryview) -> _Plan:
    maps = _header(payload)[4]
    plan = _plan_of(bytes(payload[: _HEADER.size + maps * _SHAPE.size]))
    if len(payload) != plan.offset + _body_size(plan):
        raise CorruptRecordError("an adapter's payload does not have the length that its header states")
    return plan


# A store has few layouts and precisions: working the same head out anew for every edit would rule the page-in.
@functools.lru_cache(maxsize=64)
def _plan_of(head: bytes) -> _Plan:
    _, index, precision, rank, maps, _, group = _HEADER.unpack_from(head)
    if len(head) < _HEADER.size + maps * _SHAPE.size:
        raise CorruptRecordError("an adapter's payload ends inside its shapes")
    widths = [width for shape in _SHAPE.iter_unpack(head[_HEADER.size :]) for width in shape]
    spans, start = [], 0
    for width in widths:
        spans.append((start, start + rank * width))
        start += -(-rank * width // group) * group
    if start > _MAX_NUMBERS:
        raise CorruptRecordError("an adapter's payload claims more numbers than any adapter has")
    size = rank * sum(widths)
    return _Plan(index, PRECISIONS[precision], rank, group, size, start, len(head), tuple(spans))


def _body_size(plan: _Plan) -> int:
    bits = {"int3": 3, "int4": 4, "int8": 8, "fp16": 16, "fp32": 32}[plan.precision]
    scales = 2 * plan.padded // plan.group if plan.precision in _GROUPED else 0
    return plan.padded * bits // 8 + scales


def _padded(part: Tensor, group: int) -> np.ndarray:
    flat = part.detach().to("cpu", torch.float32).reshape(-1).numpy()
    return np.pad(flat, (0, -flat.size % group))


def _pack(numbers_N: np.ndarray, precision: Precision, group: int) -> bytes:
    if precision in ("fp16", "fp32"):
        plain: bytes = numbers_N.astype("<f2" if precision == "fp16" else "<f4").tobytes()
        return plain
    grouped_GN = numbers_N.reshape(-1, group)
    if precision == "int3":
        return _pack_planes(grouped_GN)
    top = 7 if precision == "int4" else 127
    scales_G = (np.abs(grouped_GN).max(axis=1) / top).astype("<f2")
    divisors_G = np.where(scales_G > 0, scales_G, 1).astype(np.float32)
    codes_N = np.clip(np.rint(grouped_GN / divisors_G[:, None]), -top, top).astype(np.int8).reshape(-1)
    if precision == "int4":
        nibbles_N = (codes_N + 8).astype(np.uint8)
        codes_N = nibbles_N[0::2] | (nibbles_N[1::2] << 4)
    packed: bytes = scales_G.tobytes() + codes_N.tobytes()
    return packed


def _pack_planes(grouped_GN: np.ndarray) -> bytes:
    """Return scales, lower two bits and third bits of a group's least distorted 3-bit form."""
    largest_G = np.abs(grouped_GN).max(axis=1)
    best_G = np.full(len(grouped_GN), np.inf)
    scales_G = np.zeros(len(grouped_GN), "<f2")
    codes_GN = np.zeros(grouped_GN.shape, np.uint8)
    for clip in _CLIPS:
        tried_G = (largest_G * clip / 3.5).astype("<f2")
        divisors_G1 = np.where(tried_G > 0, tried_G, 1).astype(np.float32)[:, None]
        found_GN = np.clip(np.floor(grouped_GN / divisors_G1) + 4, 0, 7)
        error_G = np.square((found_GN - 3.5) * tried_G[:, None] - grouped_GN).sum(axis=1)
        better_G = error_G < best_G
        best_G[better_G], scales_G[better_G] = error_G[better_G], tried_G[better_G]
        codes_GN[better_G] = found_GN[better_G]
    low_N4, high_N8 = (codes_GN & 3).reshape(-1, 4), (codes_GN >> 2).reshape(-1, 8)
    low_N = np.bitwise_or.reduce(low_N4 << np.arange(0, 8, 2, dtype=np.uint8), axis=1)
    packed: bytes = scales_G.tobytes() + low_N.tobytes() + np.packbits(high_N8, bitorder="little").tobytes()
    return packed


def _unpack(payload: bytes | memoryview, plan: _Plan, out_N: np.ndarray) -> np.ndarray:
    """Write all numbers, padding included, into ``out_N`` (float32, contiguous) and return it."""
    if plan.precision in ("fp16", "fp32"):
        dtype = "<f2" if plan.precision == "fp16" else "<f4"
        out_N[:] = np.frombuffer(payload, dtype, offset=plan.offset)
        return out_N
    groups = plan.padded // plan.group
    scales_G = np.frombuffer(payload, "<f2", count=groups, offset=plan.offset).astype(np.float32)
    start = plan.offset + 2 * groups
    if plan.precision == "int3":
        low = np.frombuffer(payload, np.uint8, count=plan.padded // 4, offset=start)
        high = np.frombuffer(payload, np.uint8, offset=start + len(low))
        np.take(_LOW_BITS, low, axis=0, out=out_N.reshape(-1, 4), mode="clip")
        out_N += np.take(_HIGH_BITS, high, axis=0).reshape(-1)
    elif plan.precision == "int4":
        # Codes are bytes, so no index can be out of range: "clip" only spares numpy a checking pass and a copy.
        codes = np.frombuffer(payload, np.uint8, offset=start)
        np.take(_NIBBLES, codes, out=out_N.view(np.uint64), mode="clip")
    else:
        out_N[:] = np.frombuffer(payload, np.int8, offset=start)
    grouped_GN = out_N.reshape(groups, plan.group)
    grouped_GN *= scales_G[:, None]
    return out_N
