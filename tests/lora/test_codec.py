"""The codec: what is stored comes back, within the precision asked for, and damage is noticed."""

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sola_scale.errors import CorruptRecordError, TrainingError
from sola_scale.lora.adapter import Adapter
from sola_scale.lora.codec import PRECISIONS, decode, decode_row, encode, payload_class, payload_precision

# Largest error of a number as a share of the largest number of its group.
TOLERANCE = {"int3": 0.3 + 2e-3, "int4": 0.5 / 7 + 2e-3, "int8": 0.5 / 127 + 2e-3, "fp16": 1e-3, "fp32": 1e-6}


def adapter(shapes: list[tuple[int, int]], rank: int = 1, seed: int = 0, index: int = 0) -> Adapter:
    """A random adapter."""
    generator = torch.Generator().manual_seed(seed)
    return Adapter(
        layout_index=index,
        a_rI=tuple(torch.randn(rank, d_in, generator=generator) for d_in, _ in shapes),
        b_rO=tuple(torch.randn(rank, d_out, generator=generator) for _, d_out in shapes),
    )


@settings(deadline=None, max_examples=50)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=4),
    rank=st.integers(1, 4),
    precision=st.sampled_from(PRECISIONS),
    group=st.sampled_from([8, 16, 64]),
)
def test_round_trip(shapes, rank, precision, group) -> None:
    """Any shapes come back with the change they make, within what the precision allows."""
    original = adapter(shapes, rank)
    payload = encode(original, precision, group=group)
    for before, after in zip(original.balanced().pairs(), decode(payload).pairs(), strict=True):
        for one, other in zip(before, after, strict=True):
            assert (one - other).abs().max() <= TOLERANCE[precision] * one.abs().max()


@settings(deadline=None, max_examples=50)
@given(shapes=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=3))
def test_a_row_holds_what_decode_returns(shapes) -> None:
    """The slot row is A then B of every map, exactly as decoded, with or without padding in the payload."""
    for precision in PRECISIONS:
        payload = encode(adapter(shapes, 2), precision)
        row = np.full(2 * sum(d_in + d_out for d_in, d_out in shapes), np.nan, np.float32)
        decode_row(memoryview(payload), row)
        parts = [part.numpy().ravel() for pair in decode(payload).pairs() for part in pair]
        np.testing.assert_array_equal(row, np.concatenate(parts))


def test_sizes_of_the_default_model() -> None:
    """Three rank-1 maps 576 to 576 in 4 bits take under 2,400 bytes."""
    assert len(encode(adapter([(576, 576)] * 3), "int4")) == 8 + 3 * 8 + 3 * (576 + 36)


def test_three_bits_distort_a_group_least() -> None:
    """3-bit numbers take under 1,500 bytes for the default maps and keep nine tenths and more of a change's energy."""
    original = adapter([(576, 576)] * 3)
    payload = encode(original, "int3")
    assert len(payload) == 8 + 3 * 8 + 3 * (432 + 36)
    before = torch.cat([part.ravel() for pair in original.balanced().pairs() for part in pair])
    after = torch.cat([part.ravel() for pair in decode(payload).pairs() for part in pair])
    assert (before - after).square().sum() < 0.05 * before.square().sum()


@pytest.mark.parametrize(("precision", "group"), [("int3", 4), ("int4", 3), ("int8", 0)])
def test_groups_that_fill_no_bytes_are_refused(precision, group) -> None:
    """A group size that does not suit the format is an error when storing, not damage when reading."""
    with pytest.raises(TrainingError):
        encode(adapter([(8, 8)]), precision, group=group)


def test_header_tells_class_and_precision() -> None:
    """A payload says by itself which layout it belongs to and how its numbers are stored."""
    payload = encode(adapter([(8, 8)], index=3), "int8")
    assert payload_class(payload) == 3
    assert payload_precision(payload) == "int8"


@settings(deadline=None, max_examples=50)
@given(cut=st.integers(0, 200), junk=st.binary(max_size=3))
def test_a_payload_of_wrong_length_is_refused(cut: int, junk: bytes) -> None:
    """Cut short or lengthened, a payload is named corrupt and never half decoded."""
    whole = encode(adapter([(64, 64)]), "int4")
    damaged = whole[: min(cut, len(whole) - 1)] + junk
    if len(damaged) == len(whole):
        return
    with pytest.raises(CorruptRecordError):
        decode(damaged)


@settings(deadline=None, max_examples=50)
@given(head=st.binary(min_size=16, max_size=16))
def test_any_header_is_decoded_or_refused(head: bytes) -> None:
    """Whatever stands in the header, the answer is weights or an error, never a huge allocation."""
    whole = encode(adapter([(64, 64)]), "int4")
    with contextlib.suppress(CorruptRecordError):
        decode(head + whole[16:])


def test_a_row_of_another_layout_is_refused_untouched() -> None:
    """A payload that does not fill the row raises before it writes."""
    row = np.zeros(100, np.float32)
    with pytest.raises(CorruptRecordError):
        decode_row(encode(adapter([(64, 64)])), row)
    assert not row.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_stored(bad: float) -> None:
    """An adapter with a number that is not finite cannot become a payload."""
    broken = adapter([(8, 8)])
    broken.b_rO[0][0, 0] = bad
    with pytest.raises(TrainingError):
        encode(broken)


def test_zero_change_stays_zero() -> None:
    """A B of zeros comes back as zeros, so an untrained adapter changes nothing."""
    silent = Adapter(layout_index=0, a_rI=(torch.randn(1, 64),), b_rO=(torch.zeros(1, 64),))
    for precision in PRECISIONS:
        assert not decode(encode(silent, precision)).delta(0, torch.randn(5, 64)).any()
