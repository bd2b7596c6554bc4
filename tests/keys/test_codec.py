"""Calibrations as bytes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_newer_format_is_refused(monkeypatch, calibration):
    """A calibration of a format this version does not know says so."""
    monkeypatch.setattr(codec, "FORMAT", 99)
    newer = calibration.to_bytes()
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
