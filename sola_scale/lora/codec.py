"""Adapters as bytes: self-describing payloads of 3-, 4-, 8-, 16- or 32-bit numbers, laid out as `payload` says.

Shape legend: G groups of numbers that share a scale, N numbers in all.
"""

import numpy as np
import torch
from torch import Tensor

from sola_scale.errors import TrainingError
from sola_scale.lora.adapter import Adapter
from sola_scale.lora.payload import PRECISIONS, Precision, head, plan_of, unit

_GROUP = 64
# Shares of the largest number that may become the largest code: a little clipping costs less than coarser steps.
_CLIPS = np.linspace(0.7, 1.0, 7)

__all__ = [
    "PRECISIONS",
    "Precision",
    "decode",
    "decode_row",
    "encode",
    "payload_class",
    "payload_precision",
]


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
    if group < 1 or group % unit(precision):
        raise TrainingError(f"groups of {group} numbers do not suit {precision}")
    parts = [_padded(part, group) for pair in adapter.balanced().pairs() for part in pair]
    numbers_N = np.concatenate(parts)
    if not np.isfinite(numbers_N).all():
        raise TrainingError("an adapter with numbers that are not finite cannot be stored")
    shapes = [(a.shape[1], b.shape[1]) for a, b in adapter.pairs()]
    start = head(adapter.layout_index, precision, adapter.rank, group, shapes)
    return start + _pack(numbers_N, precision, group)


def decode(payload: bytes | memoryview) -> Adapter:
    """Return the adapter of a payload.

    Raises:
        CorruptRecordError: the payload is not one, or is cut short.
    """
    plan = plan_of(payload)
    numbers_N = np.empty(plan.padded, np.float32)
    plan.unpack(payload, numbers_N)
    parts = [
        torch.from_numpy(numbers_N[start:stop].reshape(plan.rank, -1).copy()) for start, stop in plan.spans
    ]
    return Adapter(layout_index=plan.layout_index, a_rI=tuple(parts[0::2]), b_rO=tuple(parts[1::2]))


def decode_row(payload: bytes | memoryview, row_N: np.ndarray) -> None:
    """Write a payload's weights into one float32 row, ``A`` then ``B`` of every map, one after the other.

    Raises:
        CorruptRecordError: the payload is not one, or does not fill the row exactly; then nothing was written.
    """
    plan_of(payload).decode(payload, row_N)


def payload_class(payload: bytes | memoryview) -> int:
    """Return the index of the layout that a payload is an adapter of.

    Raises:
        CorruptRecordError: the payload is not one.
    """
    return plan_of(payload).layout_index


def payload_precision(payload: bytes | memoryview) -> Precision:
    """Return the number format of a payload.

    Raises:
        CorruptRecordError: the payload is not one.
    """
    return plan_of(payload).precision


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
