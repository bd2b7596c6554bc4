"""Alignments: the tokens of two prompts that answer each other."""

import dataclasses

import numpy as np
import pytest

from sola_scale.backbone.reading import DIGIT
from sola_scale.keys.alignment import Alignment

UNITS = np.eye(4, dtype=np.float16)


@pytest.fixture
def alignment() -> Alignment:
    """Tokens 0 and 1 mean the same, 2 and 3 other things; 3 weighs twice as much as the others."""
    return Alignment(
        view=0,
        places=3,
        vector_NA=UNITS[[0, 0, 1, 2]],
        weight_N=np.float32([0.4, 0.4, 0.4, 0.8]),
        name_2A=np.zeros((2, 4), np.float32),
    )


def _read(alignment, *tokens, names=()):
    signs = [-1 if token in names else 1 for token in tokens]
    digits = [
        digit
        for sign, token in zip(signs, tokens, strict=True)
        for digit in (sign * (token // DIGIT + 1), token % DIGIT)
    ]
    return alignment.read(np.float16(digits + [0] * (alignment.dim - len(digits)))[None])


def test_prompts_of_one_meaning_leave_nothing_uncovered(alignment):
    """Tokens that mean the same cover each other, in any order."""
    left, right = _read(alignment, 0, 2), _read(alignment, 2, 1)
    np.testing.assert_allclose(alignment.likeness(left, right), 0, atol=1e-6)


def test_what_the_other_lacks_is_left_uncovered_by_weight(alignment):
    """Of a prompt with a token more, that token's weight is uncovered; of the other nothing is."""
    left, right = _read(alignment, 0, 3), _read(alignment, 0)
    found = alignment.likeness(left, right)[0]
    np.testing.assert_allclose(found[3:6], [0.8 / 1.2, 0.8, 0.8], atol=2e-3)
    np.testing.assert_allclose(np.delete(found, [3, 4, 5]), 0, atol=1e-6)


def test_names_are_counted_apart(alignment):
    """What is uncovered of a name is among the first three features of its prompt."""
    left, right = _read(alignment, 0, 3, names=[3]), _read(alignment, 0)
    found = alignment.likeness(left, right)[0]
    np.testing.assert_allclose(found[1:3], [0.8, 0.8], atol=1e-3)
    np.testing.assert_allclose(found[3:6], 0, atol=1e-6)


def test_swapping_the_prompts_swaps_the_features(alignment):
    """The features of the left prompt and those of the right one change places."""
    left, right = _read(alignment, 0, 3, names=[3]), _read(alignment, 2, 1)
    there, back = alignment.likeness(left, right)[0], alignment.likeness(right, left)[0]
    np.testing.assert_allclose(there, np.roll(back, 6), atol=1e-6)


def test_an_empty_prompt_and_an_unknown_token_are_read(alignment):
    """No token covers nothing and lacks nothing; a number beyond the vocabulary is met as its last token."""
    empty, beyond = _read(alignment), _read(alignment, 9000)
    found = alignment.likeness(empty, beyond)[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:6], 0, atol=1e-6)
    np.testing.assert_allclose(alignment.likeness(beyond, _read(alignment, 3)), 0, atol=1e-6)


def test_a_longer_prompt_beside_changes_nothing(alignment):
    """What two prompts leave uncovered is the same alone and read in one batch with a longer one."""
    rng = np.random.default_rng(0)
    alignment = dataclasses.replace(alignment, vector_NA=rng.normal(size=(4, 4)).astype(np.float16))
    alone = alignment.likeness(_read(alignment, 0), _read(alignment, 3))
    digits = np.float16([[1, 0, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0], [1, 1, 1, 2, 1, 3]])
    batch = alignment.read(digits)
    found = alignment.likeness(batch.at(slice(0, 1)), batch.at(slice(1, 2)))
    np.testing.assert_allclose(found, alone, atol=1e-6)
