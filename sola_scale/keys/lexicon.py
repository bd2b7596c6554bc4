"""A lexicon: which words of two prompts are the same, and how much that says.

Pooled hidden states tell "the mother of" from "the father of", NGC 634 from NGC 4293, or Best Male from Best Female
only faintly; the words themselves do so at once. Words are weighed by how rare they are among the texts of the fit
(Spärck Jones 1972); those of names, which say whom a prompt speaks of, and the others are weighed apart.

Shape legend: N words known, B prompts, k candidates, W word places, F features.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sola_scale.backbone.reading import DIGITS, WORDS
from sola_scale.keys.digits import joined, unfold

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

FEATURES = 16
_SIDE = 7
NAMES_COVERED = (0, _SIDE)
"""Where the covered shares of the names lie, the left prompt's and the right one's."""
_SCALE = np.float32(5)
"""Uncovered weight at which a likeness has fallen to 1/e: about one word that no text of the fit holds twice."""
_OF_ONE_STEM = np.float32(0.5)
"""What a word leaves uncovered if the other prompt has not it but one of its stem."""


class Words(NamedTuple):
    """Prompts as their words, the last one first; ``[..., W]`` each."""

    number: Ints
    """Equal for equal words; 0 where there is none."""
    stem: Ints
    """Equal for words that begin alike."""
    name: Bools
    """Which of them belong to names."""
    weight: Floats
    """How much each of them says."""

    def at(self, *index: "int | slice | Ints | None") -> "Words":
        """Index every array alike."""
        return Words(self.number[index], self.stem[index], self.name[index], self.weight[index])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lexicon:
    """Words and their weights."""

    view: int
    """The place of the words on the view axis."""
    places: int
    """Words kept of a prompt."""
    word_N: Ints
    """Numbers of the words that were met, ascending."""
    weight_N: Floats
    """Their weights."""
    unknown: float
    """Weight of a word that was never met."""

    @property
    def dim(self) -> int:
        """Numbers a prompt's words take."""
        return DIGITS * self.places

    def read(self, digits: NDArray[np.floating]) -> Words:
        """Read prompts ``[..., DIGITS * W]``; no more places are given than the longest of them has words."""
        whole = unfold(digits, DIGITS)
        number, stem = _whole(whole[..., 0], whole[..., 1]), _whole(whole[..., 2], whole[..., 3])
        return Words(number, stem, whole[..., 0] < 0, self._weigh(number))

    def likeness(self, left: Words, right: Words) -> Floats:
        """How far the words of two prompts cover each other: ``[..., F]`` from words that broadcast.

        For the left prompt, then for the right one: of its names, and of its other words, the covered share of the
        weight, ``exp`` of minus the uncovered weight and of minus the heaviest uncovered word; and the covered share of
        all. Then, for names and for other words, whichever prompt is covered better. All lie in 0 to 1, and are 1
        between equal prompts.
        """
        there = (left.number > 0)[..., :, None]
        same_WW = (left.number[..., :, None] == right.number[..., None, :]) & there
        alike_WW = (left.stem[..., :, None] == right.stem[..., None, :]) & there
        features = [
            *_side(left, same_WW.any(axis=-1), alike_WW.any(axis=-1)),
            *_side(right, same_WW.any(axis=-2), alike_WW.any(axis=-2)),
        ]
        features += [np.maximum(features[place], features[place + _SIDE]) for place in (1, 4)]
        stacked: Floats = np.stack(features, axis=-1)
        return stacked

    def _weigh(self, number: Ints) -> Floats:
        if not len(self.word_N):
            return np.where(number > 0, np.float32(self.unknown), np.float32(0))
        place = np.minimum(np.searchsorted(self.word_N, number), len(self.word_N) - 1)
        met = np.where(self.word_N[place] == number, self.weight_N[place], np.float32(self.unknown))
        return np.where(number > 0, met, np.float32(0))


def fit_lexicon(digits_BD: NDArray[np.floating], *, view: int) -> Lexicon:
    """Weigh words by how many texts hold them.

    Args:
        digits_BD: the texts' view of their words, ``[B, D]``.
        view: place of that view on the view axis.
    """
    places = min(WORDS, digits_BD.shape[1] // DIGITS)
    blank = Lexicon(
        view=view, places=places, word_N=np.zeros(0, np.int64), weight_N=np.zeros(0, np.float32), unknown=0.0
    )
    number_BW = blank.read(digits_BD[:, : blank.dim]).number
    held = np.concatenate([np.unique(number_W[number_W > 0]) for number_W in number_BW])
    word_N, count_N = np.unique(held, return_counts=True)
    texts = len(digits_BD) + 1
    return Lexicon(
        view=view,
        places=places,
        word_N=word_N,
        weight_N=np.log(texts / (count_N + 1)).astype(np.float32),
        unknown=float(np.log(texts)),
    )


def _whole(high: Ints, low: Ints) -> Ints:
    return np.where(high != 0, joined(high, low) + 1, 0)


def _side(words: Words, same: Bools, alike: Bools) -> list[Floats]:
    """Seven features of one of the prompts."""
    bare = np.where(same, np.float32(0), np.where(alike, _OF_ONE_STEM, np.float32(1))) * words.weight
    features: list[Floats] = []
    for kind in (words.name, ~words.name):
        weight, uncovered = (words.weight * kind).sum(axis=-1), bare * kind
        features += [
            _share(uncovered.sum(axis=-1), weight),
            np.exp(-uncovered.sum(axis=-1) / _SCALE),
            np.exp(-uncovered.max(axis=-1) / _SCALE),
        ]
    return [*features, _share(bare.sum(axis=-1), words.weight.sum(axis=-1))]


def _share(uncovered: Floats, weight: Floats) -> Floats:
    """The covered share; all of nothing is covered."""
    share: Floats = (1 - uncovered / np.maximum(weight, np.float32(1e-6))).astype(np.float32, copy=False)
    return np.broadcast_to(share, uncovered.shape)
