"""Verification vectors taken apart, and whether two of them are of one text.

Shape legend: B queries, k candidates.
"""

from typing import NamedTuple

import numpy as np

from sola_scale.keys.alignment import Tokens
from sola_scale.keys.lexicon import Words
from sola_scale.keys.scorer import Bools, Floats

SAME_DISTANCE = np.float32(5e-3)
SAME_COSINE = np.float32(0.998)
"""Two prompts of the same words, nearer than this in retrieval distance *and* in encodings, are one text: float16 and the
float noise of another batch stay well inside."""


class Text(NamedTuple):
    """The letter of prompts."""

    words: Words
    """Which words they hold."""
    tokens: Tokens
    """What their tokens mean."""

    def at(self, *index: slice | None) -> "Text":
        """Index the axes before the last one."""
        return Text(self.words.at(*index), self.tokens.at(*index))


class Parts(NamedTuple):
    """Verification vectors, taken apart to be compared."""

    encodings: Floats
    """The encodings of all matchers, end to end."""
    text: Text | None
    """What the prompts say, to the letter; None where the calibration does not compare it."""

    def at(self, *index: slice | None) -> "Parts":
        """Index the axes before the last one."""
        text = self.text.at(*index) if self.text is not None else None
        return Parts(self.encodings[index], text)


def same_text(query: Parts, candidates: Parts, distances_Bk: Floats, cosine_Bk: Floats) -> Bools:
    """Which candidates ``[B, k]`` are the query, word for word."""
    assert query.text is not None
    assert candidates.text is not None
    left, right = query.text.words.number, candidates.text.words.number
    places = min(left.shape[-1], right.shape[-1])
    words_Bk = (left[..., :places] == right[..., :places]).all(axis=-1)
    for number in (left, right):
        words_Bk &= ~(number[..., places:] != 0).any(axis=-1)
    same: Bools = words_Bk & (distances_Bk < SAME_DISTANCE) & (cosine_Bk > SAME_COSINE)
    return same
