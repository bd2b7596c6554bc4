"""Adapters as bytes: a self-describing payload of 4-, 8-, 16- or 32-bit numbers, decoded in one pass.

Payload, little-endian::

    header   magic u8, layout index u8, precision u8, rank u8, maps u8, reserved u8, group size u16
    shapes   per map: d_in u32, d_out u32
    scales   int4 and int8 only: one float16 per group
    numbers  map by map A then B, each padded with zeros to whole groups; int4 packs two a byte, the lower first

A group is ``group size`` consecutive numbers of one matrix that share a scale: ``number = code * scale``.
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

Precision = Literal["int4", "int8", "fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("int4", "int8", "fp16", "fp32")

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


def encode(adapter: Adapter, precision: Precision = "int4", *, group: int = _GROUP) -> bytes:
    """Return the payload of an adapter.

    Args:
        adapter: finite weights.
        precision: format of the stored numbers.
        group: consecutive numbers that share a scale; even.

    Raises:
        TrainingError: a weight is not finite, or the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise TrainingError(f"unknown precision {precision!r}; known are {', '.join(PRECISIONS)}")
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
    numbers_N = _unpack(payload, plan)
    parts = [
        torch.from_numpy(numbers_N[start:stop].reshape(plan.rank, -1).copy()) for start, stop in plan.spans
    ]
    return Adapter(layout_index=plan.layout_index, a_rI=tuple(parts[0::2]), b_rO=tuple(parts[1::2]))


def decode_row(payload: bytes | memoryview, row_W: np.ndarray) -> None:
    """Write a payload's weights into one float32 row: map by map ``A`` then ``B``, without padding.

    Raises:
        CorruptRecordError: the payload is not one, or is not of the row's size; then nothing was written.
    """
    plan = _plan(payload)
    if plan.numbers != len(row_W):
        raise CorruptRecordError("an adapter's payload does not have the size of the layout it names")
    numbers_N = _unpack(payload, plan)
    if plan.numbers == plan.padded:
        row_W[:] = numbers_N
        return
    np.concatenate([numbers_N[start:stop] for start, stop in plan.spans], out=row_W)


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
    numbers: int
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
        or group % 2
    ):
        raise CorruptRecordError("an adapter's payload has no valid header")
    return magic, index, precision, rank, maps, reserved, group


def _plan(payload: bytes | memoryview) -> _Plan:
    maps = _header(payload)[4]
    head = bytes(payload[: _HEADER.size + maps * _SHAPE.size])
    plan = _plan_of(head)
    if len(payload) != plan.offset + _body_size(plan):
        raise CorruptRecordError("an adapter's payload does not have the length that its header states")
    return plan


# A store has few layouts and precisions: reading the same head again for every edit would rule the page-in.
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
    return _Plan(
        index, PRECISIONS[precision], rank, group, rank * sum(widths), start, len(head), tuple(spans)
    )


def _body_size(plan: _Plan) -> int:
    bits = {"int4": 4, "int8": 8, "fp16": 16, "fp32": 32}[plan.precision]
    scales = 2 * plan.padded // plan.group if plan.precision in ("int4", "int8") else 0
    return plan.padded * bits // 8 + scales


def _padded(part: Tensor, group: int) -> np.ndarray:
    flat = part.detach().to("cpu", torch.float32).reshape(-1).numpy()
    return np.pad(flat, (0, -flat.size % group))


def _pack(numbers_N: np.ndarray, precision: Precision, group: int) -> bytes:
    if precision == "fp32":
        return numbers_N.astype("<f4").tobytes()
    if precision == "fp16":
        return numbers_N.astype("<f2").tobytes()
    top = 7 if precision == "int4" else 127
    grouped = numbers_N.reshape(-1, group)
    scales_G = (np.abs(grouped).max(axis=1) / top).astype("<f2")
    divisors = np.where(scales_G > 0, scales_G, 1).astype(np.float32)
    codes = np.clip(np.rint(grouped / divisors[:, None]), -top, top).astype(np.int8).reshape(-1)
    if precision == "int8":
        return scales_G.tobytes() + codes.tobytes()
    nibbles = (codes + 8).astype(np.uint8)
    return scales_G.tobytes() + (nibbles[0::2] | (nibbles[1::2] << 4)).tobytes()


def _unpack(payload: bytes | memoryview, plan: _Plan) -> np.ndarray:
    """Return all numbers, padding included, float32 and freshly allocated."""
    if plan.precision in ("fp16", "fp32"):
        dtype = "<f2" if plan.precision == "fp16" else "<f4"
        return np.frombuffer(payload, dtype, offset=plan.offset).astype(np.float32)
    groups = plan.padded // plan.group
    scales_G = np.frombuffer(payload, "<f2", count=groups, offset=plan.offset).astype(np.float32)
    start = plan.offset + 2 * groups
    if plan.precision == "int4":
        numbers = _NIBBLES.take(np.frombuffer(payload, np.uint8, offset=start)).view(np.float32)
    else:
        numbers = np.frombuffer(payload, np.int8, offset=start).astype(np.float32)
    grouped = numbers.reshape(groups, plan.group)
    np.multiply(grouped, scales_G[:, None], out=grouped)
    return grouped.reshape(-1)
