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

from sola_scale.backbone.reading import DIGIT, DIGITS, WORDS
from sola_scale.keys.digits import joined, unfold

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_SIDE = 12
FEATURES = 2 * _SIDE + 2
NAMES_COVERED = (0, _SIDE)
"""Where the covered shares of the names lie, the left prompt's and the right one's."""
_PLACES = DIGIT ** np.arange(DIGITS - 2)
_SCALE = np.float32(5)
"""Uncovered weight at which a likeness has fallen to 1/e: about one word that no text of the fit holds twice."""
_NEARLY = 0.5
"""Share of letter pairs from which on a word half covers another one: a plural its singular."""
_HALF = np.float32(0.5)


class Words(NamedTuple):
    """Prompts as their words, the last one first; ``[..., W]`` each."""

    number: Ints
    """Equal for equal words; 0 where there is none."""
    letters: Ints
    """Bits of its pairs of letters."""
    name: Bools
    """Which of them belong to names."""
    weight: Floats
    """How much each of them says."""

    def at(self, *index: "int | slice | Ints | None") -> "Words":
        """Index every array alike."""
        return Words(self.number[index], self.letters[index], self.name[index], self.weight[index])


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
        number = np.where(whole[..., 0] != 0, joined(whole[..., 0], whole[..., 1]) + 1, 0)
        return Words(number, whole[..., 2:] @ _PLACES, whole[..., 0] < 0, self._weigh(number))

    def likeness(self, left: Words, right: Words) -> Floats:
        """How far the words of two prompts cover each other: ``[..., F]`` from words that broadcast.

        For the left prompt, then for the right one: of its names, and of its other words, the covered share of the
        weight, ``exp`` of minus the uncovered weight and of minus the heaviest uncovered word; the covered share of
        all; of names and of other words, the first and the last of these if a word covers another as far as their
        letters are the same; and the letters that the worst covered name has in common with another word. Then, for
        names and for other words, whichever prompt is covered better. All lie in 0 to 1, and are 1 between equal prompts.
        """
        there = (left.number > 0)[..., :, None]
        same_WW = (left.number[..., :, None] == right.number[..., None, :]) & there
        common_WW = _common_letters(left.letters[..., :, None], right.letters[..., None, :])
        alike_WW = np.where(same_WW, np.float32(1), common_WW)
        features = [
            *_side(left, same_WW.any(axis=-1), alike_WW.max(axis=-1)),
            *_side(right, same_WW.any(axis=-2), alike_WW.max(axis=-2)),
        ]
        features += [np.maximum(features[place], features[place + _SIDE]) for place in (1, 4)]
        stacked: Floats = np.stack(np.broadcast_arrays(*features), axis=-1)
        return stacked

    def _weigh(self, number: Ints) -> Floats:
        if not len(self.word_N):
            return np.where(number > 0, np.float32(self.unknown), np.float32(0))
        place = np.minimum(np.searchsorted(self.word_N, number), len(self.word_N) - 1)
        met = np.where(self.word_N[place] == number, self.weight_N[place], np.float32(self.unknown))
        return np.where(number > 0, met, np.float32(0))


def fit_lexicon(digits_BD: NDArray[np.floating], subject_B: Ints, *, view: int) -> Lexicon:
    """Weigh words by how many subjects they are used of.

    Texts are not counted: a name is in all texts about its bearer, and would be as common as the words that ask.

    Args:
        digits_BD: the texts' view of their words, ``[B, D]``.
        subject_B: whom they are about.
        view: place of that view on the view axis.
    """
    places = min(WORDS, digits_BD.shape[1] // DIGITS)
    blank = Lexicon(
        view=view, places=places, word_N=np.zeros(0, np.int64), weight_N=np.zeros(0, np.float32), unknown=0.0
    )
    number_BW = blank.read(digits_BD[:, : blank.dim]).number
    subject_BW = np.broadcast_to(subject_B[:, None], number_BW.shape)
    word_U, _ = np.unique(np.stack([number_BW, subject_BW])[:, number_BW > 0], axis=1)
    word_N, count_N = np.unique(word_U, return_counts=True)
    subjects = len(np.unique(subject_B)) + 1
    return Lexicon(
        view=view,
        places=places,
        word_N=word_N,
        weight_N=np.log(subjects / (count_N + 1)).astype(np.float32),
        unknown=float(np.log(subjects)),
    )


def _common_letters(left: Ints, right: Ints) -> Floats:
    """Share of the pairs of letters of two words that both have; 0 without letters."""
    both, either = np.bitwise_count(left & right), np.bitwise_count(left | right)
    share: Floats = both.astype(np.float32) / np.maximum(either, 1).astype(np.float32)
    return share


def _side(words: Words, same: Bools, alike: Floats) -> list[Floats]:
    """The features of one of the prompts."""
    bare = np.where(same, np.float32(0), np.where(alike >= _NEARLY, _HALF, np.float32(1))) * words.weight
    unlike = (1 - alike) * words.weight
    kinds = (words.name, ~words.name)
    features: list[Floats] = []
    for kind in kinds:
        uncovered = bare * kind
        features += [
            _share(uncovered, words.weight * kind),
            np.exp(-uncovered.sum(axis=-1) / _SCALE),
            np.exp(-uncovered.max(axis=-1) / _SCALE),
        ]
    features.append(_share(bare, words.weight))
    for kind in kinds:
        uncovered = unlike * kind
        features += [_share(uncovered, words.weight * kind), np.exp(-uncovered.max(axis=-1) / _SCALE)]
    # a word that weighs nothing says nothing, and an empty place is none
    worst = np.where(words.name & (words.weight > 0), alike, np.float32(1)).min(axis=-1)
    return [*features, worst]


def _share(uncovered: Floats, weight: Floats) -> Floats:
    """The covered share of the weight; all of nothing is covered."""
    total = np.maximum(weight.sum(axis=-1), np.float32(1e-6))
    share: Floats = (1 - uncovered.sum(axis=-1) / total).astype(np.float32, copy=False)
    return share
