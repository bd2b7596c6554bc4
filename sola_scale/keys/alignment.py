"""An alignment: how far the tokens of two prompts answer each other, whatever their order.

Equal words are what a lexicon sees; that "dad" answers "father" and "penned" answers "wrote" must be learned. Every token
of the vocabulary has a short vector and a weight, made of its embedding. A token of one prompt takes the likest of the other
(the late interaction of ColBERT, Khattab and Zaharia 2020); what it lacks to likeness is left uncovered.

Shape legend: N tokens of the vocabulary, A alignment vector, T token places, F features.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sola_scale.backbone.reading import TOKEN_DIGITS
from sola_scale.keys.digits import joined, unfold
from sola_scale.keys.scorer import Bools, Floats, Ints

FEATURES = 12
TINY = 1e-3
"""Keeps the share finite where nothing weighs."""


class Spelled(NamedTuple):
    """Prompts as the tokens they are spelled with; ``[..., T]`` each."""

    token: Ints
    """Their numbers in the vocabulary, 0 where there is none."""
    name: Bools
    """Which of them belong to names."""
    there: Bools
    """Where there is one."""


class Tokens(NamedTuple):
    """Prompts as what their tokens mean."""

    vector: Floats
    """Unit vectors ``[..., T, A]``, zero where there is no token."""
    weight: Floats
    """How much each says, ``[..., T]``."""
    name: Bools
    """Which of them belong to names."""

    def at(self, *index: "int | slice | Ints | None") -> "Tokens":
        """Index every array alike."""
        return Tokens(self.vector[index], self.weight[index], self.name[index])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """What the tokens of a vocabulary mean to a question."""

    view: int
    """The place of the tokens on the view axis."""
    places: int
    """Tokens kept of a prompt."""
    vector_NA: NDArray[np.float16]
    """A vector of each token of the vocabulary, of any length."""
    weight_N: Floats
    """Its weight, 0 to 1."""
    name_2A: Floats
    """What is added to a vector outside of names, and within one."""

    @property
    def dim(self) -> int:
        """Numbers a prompt's tokens take."""
        return TOKEN_DIGITS * self.places

    def read(self, digits: NDArray[np.floating]) -> Tokens:
        """Read prompts ``[..., TOKEN_DIGITS * T]``; no more places are given than the longest of them has tokens."""
        token, name, there = spelled(digits)
        # a token that the vocabulary did not have when this was fitted is met as its last one
        known = np.clip(token, 0, len(self.weight_N) - 1)
        raw = self.vector_NA[known].astype(np.float32) + self.name_2A[name.astype(np.int64)]
        length = np.sqrt(np.einsum("...a,...a->...", raw, raw))
        vector = raw * (there / np.maximum(length, np.float32(1e-12)))[..., None]
        return Tokens(vector, self.weight_N[known] * there, name)

    def likeness(self, left: Tokens, right: Tokens) -> Floats:
        """How far the tokens of two prompts cover each other: ``[..., F]`` from tokens that broadcast.

        For the left prompt, then for the right one; of its names, then of the rest: the share of the weight that is left
        uncovered, all of it, and the most of one token.
        """
        near_TT = np.matmul(left.vector, right.vector.swapaxes(-1, -2))
        # an empty place is like nothing, and stands beside every prompt but the longest: it must not matter where
        features = [
            *_side(left, near_TT.max(axis=-1, initial=0)),
            *_side(right, near_TT.max(axis=-2, initial=0)),
        ]
        stacked: Floats = np.stack(np.broadcast_arrays(*features), axis=-1).astype(np.float32, copy=False)
        return stacked


def spelled(digits: NDArray[np.floating]) -> Spelled:
    """Read the view of the tokens, ``[..., TOKEN_DIGITS * T]``, as far as the longest prompt goes."""
    high, low = np.moveaxis(unfold(digits, TOKEN_DIGITS), -1, 0)
    return Spelled(np.where(high != 0, joined(high, low), 0), high < 0, high != 0)


def _side(tokens: Tokens, nearest: Floats) -> list[Floats]:
    bare = tokens.weight * (1 - nearest)
    features: list[Floats] = []
    for kind in (tokens.name, ~tokens.name):
        uncovered, weight = bare * kind, tokens.weight * kind
        total = uncovered.sum(axis=-1)
        features += [total / (weight.sum(axis=-1) + np.float32(TINY)), total, uncovered.max(axis=-1)]
    return features
