"""Calibrations as bytes."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from sola_scale.errors import CalibrationError
from sola_scale.keys import Calibration, codec


def test_round_trip_keeps_every_decision(calibration, views):
    """What is read back has the same id, keys and settings."""
    again = Calibration.from_bytes(calibration.to_bytes())
    assert again.id == calibration.id
    assert (again.views, again.threshold, again.note) == (
        calibration.views,
        calibration.threshold,
        calibration.note,
    )
    np.testing.assert_array_equal(
        again.keys(views[:4]).verification_BM, calibration.keys(views[:4]).verification_BM
    )


def test_a_lexicon_that_does_not_fit_is_refused(calibration):
    """Words without weights, or more of them than a view holds, are a CalibrationError."""
    lexicon = calibration.lexicon
    assert lexicon is not None
    short = dataclasses.replace(lexicon, weight_N=lexicon.weight_N[:-1])
    for damaged in (short, dataclasses.replace(lexicon, places=1000)):
        with pytest.raises(CalibrationError, match="lexicon"):
            Calibration.from_bytes(dataclasses.replace(calibration, lexicon=damaged).to_bytes())


def test_an_alignment_that_does_not_fit_is_refused(calibration):
    """Tokens without weights, or more of them than a view holds, are a CalibrationError."""
    alignment = calibration.alignment
    assert alignment is not None
    short = dataclasses.replace(alignment, weight_N=alignment.weight_N[:-1])
    flat = dataclasses.replace(alignment, name_2A=alignment.name_2A[0])
    deep = dataclasses.replace(alignment, name_2A=np.stack([alignment.name_2A] * 2))
    for damaged in (short, flat, deep, dataclasses.replace(alignment, places=1000)):
        with pytest.raises(CalibrationError, match="alignment"):
            Calibration.from_bytes(dataclasses.replace(calibration, alignment=damaged).to_bytes())


@pytest.mark.parametrize(
    "name",
    [
        *(f"encoder.0.{name}" for name in codec._ENCODER),
        *("pair.0.mean", "pair.0.scale", "pair.0.0.weight", "pair.0.1.bias", "pair.0.2.weight"),
        *("listwise.mean", "listwise.1.weight", "listwise.2.bias", "head.0.centre"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(calibration, name):
    """An array that is one number too short, or has no axes, is found out when it is read, not in use."""
    data = calibration.to_bytes()
    tensors, described = load(data), json.dumps(codec._metadata(data), sort_keys=True)
    whole = tensors[name]
    cut = [whole.take(range(length - 1), axis) for axis, length in enumerate(whole.shape)]
    for damaged in (*cut, whole.flat[0].reshape(())):
        tensors[name] = np.ascontiguousarray(damaged).reshape(damaged.shape)
        with pytest.raises(CalibrationError):
            Calibration.from_bytes(save(tensors, metadata={codec._META: described}))


def test_bytes_are_deterministic(calibration):
    """Packing twice gives equal bytes."""
    assert calibration.to_bytes() == calibration.to_bytes()


def test_cut_bytes_are_refused(calibration):
    """A file cut short anywhere is a CalibrationError, never another exception."""
    data = calibration.to_bytes()
    for length in [0, 4, 8, 100, len(data) // 2, len(data) - 1]:
        with pytest.raises(CalibrationError):
            Calibration.from_bytes(data[:length])


@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    """Arbitrary bytes are a CalibrationError."""
    with pytest.raises(CalibrationError):
        Calibration.from_bytes(noise)


def test_too_large_is_refused(monkeypatch, calibration):
    """More bytes than the limit are refused before they are parsed."""
    monkeypatch.setattr(codec, "MAX_BYTES", 100)
    with pytest.raises(CalibrationError, match="limit"):
        Calibration.from_bytes(calibration.to_bytes())


@pytest.mark.parametrize(
    ("which", "written"), [("calibration", "_WITHOUT_CROSS_ENCODER"), ("crossed", "FORMAT")]
)
def test_a_newer_format_is_refused(request, monkeypatch, which, written):
    """A calibration of a format this version does not know says so."""
    of_today = request.getfixturevalue(which)
    monkeypatch.setattr(codec, written, 99)
    newer = of_today.to_bytes()
    monkeypatch.undo()
    with pytest.raises(CalibrationError, match="format 99"):
        Calibration.from_bytes(newer)


def test_non_finite_numbers_are_refused(calibration):
    """A bit flip that makes a weight infinite is found on reading."""
    encoder = calibration.matchers[0].encoder
    kept = encoder.inner_FH[0, 0]
    encoder.inner_FH[0, 0] = np.inf
    data = calibration.to_bytes()
    encoder.inner_FH[0, 0] = kept
    with pytest.raises(CalibrationError, match="finite"):
        Calibration.from_bytes(data)


def test_a_changed_copy_has_its_own_id(calibration):
    """A copy with another threshold is another calibration: the id is of the content, not of the original."""
    first = calibration.id
    changed = dataclasses.replace(calibration, threshold=0.75)
    assert changed.id != first
    assert dataclasses.replace(changed, threshold=calibration.threshold).id == first


def _altered(data, **changes):
    """The same calibration with other arrays, by the end of their names; None takes one out."""
    tensors, described = load(data), codec._metadata(data)
    for end, change in changes.items():
        name = next(name for name in sorted(tensors) if name.startswith("cross.") and name.endswith(end))
        array = tensors.pop(name)
        if change is not None:
            tensors[name] = np.ascontiguousarray(change(array))
    return save(tensors, metadata={codec._META: json.dumps(described)})


def test_a_round_trip_keeps_the_cross_encoder(crossed):
    """A cross-encoder is read back with equal arrays and numbers, and the calibration keeps its id."""
    again, cross = Calibration.from_bytes(crossed.to_bytes()), crossed.cross
    assert again.id == crossed.id
    assert again.to_bytes() == crossed.to_bytes()
    plain = ("depth", "separator", "bias", "doubt", "blend")
    assert [getattr(again.cross, name) for name in plain] == [getattr(cross, name) for name in plain]
    np.testing.assert_array_equal(again.cross.head_D, cross.head_D)
    assert sorted(again.cross.adapters) == sorted(cross.adapters)
    for path, adapter in cross.adapters.items():
        for ours, theirs in zip(again.cross.adapters[path], adapter, strict=True):
            assert ours.dtype == np.float16
            np.testing.assert_array_equal(ours, theirs)


def test_without_a_cross_encoder_the_format_is_the_old_one(calibration, crossed):
    """A calibration without a cross-encoder is written as format 6, with not a byte of the new one; another one as format 7."""
    described = codec._metadata(calibration.to_bytes())
    assert described["format"] == 6
    assert "cross" not in described
    assert codec._metadata(crossed.to_bytes())["format"] == 7
    assert dataclasses.replace(crossed, cross=None).to_bytes() == calibration.to_bytes()


def test_every_part_of_a_cross_encoder_is_of_the_id(crossed):
    """A calibration whose cross-encoder differs in one number is another calibration."""
    changes = {
        "depth": 1,
        "separator": 3,
        "bias": 0.25,
        "doubt": (-2.0, 2.5),
        "head_D": crossed.cross.head_D * 2,
    }
    changed = [dataclasses.replace(crossed.cross, **{name: value}) for name, value in changes.items()]
    ids = {dataclasses.replace(crossed, cross=one).id for one in (None, crossed.cross, *changed)}
    assert len(ids) == len(changes) + 2


@pytest.mark.parametrize(
    "changes",
    [
        {".down_RI": lambda down_RI: down_RI[:-1]},
        {".up_OR": lambda up_OR: up_OR[:, 0]},
        {".down_RI": lambda down_RI: down_RI[None]},
        {".up_OR": None},
        {".down_RI": None},
        {".head": None},
        {".up_OR": lambda up_OR: up_OR.astype(np.float32)},
        {".head": lambda head_D: head_D.astype(np.float16)},
        {".head": lambda head_D: head_D[None]},
        {".down_RI": lambda down_RI: np.full_like(down_RI, np.nan)},
    ],
)
def test_a_damaged_cross_encoder_is_refused(crossed, changes):
    """Adapters of two ranks, without one of their matrices, in another format or not finite are a CalibrationError."""
    data = crossed.to_bytes()
    assert Calibration.from_bytes(_altered(data)).id == crossed.id
    with pytest.raises(CalibrationError, match=r"damaged|fit together"):
        Calibration.from_bytes(_altered(data, **changes))


@pytest.mark.parametrize(
    "numbers",
    [
        [2, 2, 0.0, [-1.0, 1.0], [1.0, 1.0]],
        [2, 2, 0.0, [1.0, -1.0], [1.0, 1.0, 0.0]],
        [0, 2, 0.0, [-1.0, 1.0], [1.0, 1.0, 0.0]],
        [2, 2, float("nan"), [-1.0, 1.0], [1.0, 1.0, 0.0]],
        [2, 2, 0.0, [-1.0], [1.0, 1.0, 0.0]],
        ["two", 2, 0.0, [-1.0, 1.0], [1.0, 1.0, 0.0]],
        [],
    ],
)
def test_damaged_numbers_of_a_cross_encoder_are_refused(crossed, numbers):
    """Numbers that are missing, of another kind or no range are a CalibrationError."""
    data = crossed.to_bytes()
    described = {**codec._metadata(data), "cross": numbers}
    with pytest.raises(CalibrationError):
        Calibration.from_bytes(save(load(data), metadata={codec._META: json.dumps(described)}))
