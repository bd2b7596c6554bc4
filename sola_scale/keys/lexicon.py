"""A lexicon: which words of two prompts are the same, and how much that says.

Pooled hidden states tell "the mother of" from "the father of", NGC 634 from NGC 4293, or Best Male from Best Female
only faintly; the words themselves do so at once. Words are weighed by how rare they are among the texts of the fit
(Spärck Jones 1972): what a prompt's rare words leave uncovered in the other one is what tells the two apart.

Shape legend: N tokens of the vocabulary or texts, B prompts, k candidates, T token places, D view width, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sola_scale.backbone.views import DIGIT, TOKENS

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

FEATURES = 6
_SCALE = np.float32(5)
"""Uncovered weight at which a likeness has fallen to 1/e: about one word that no text of the fit holds twice."""
SWAPPED = (1, 0, 3, 2, 5, 4)
"""The order the features take when the two prompts change places."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lexicon:
    """Words and their weights."""

    view: int
    """The place of the tokens on the view axis."""
    places: int
    """Tokens kept of a prompt."""
    word_N: Ints
    """By token, the word it stands for: spellings that differ in capitals or the space before are one word."""
    weight_N: Floats
    """By token, the weight of its word."""

    @property
    def dim(self) -> int:
        """Numbers a prompt's tokens take."""
        return 2 * self.places

    def likeness(self, left: NDArray[np.floating], right: NDArray[np.floating]) -> Floats:
        """How far the words of two prompts cover each other: ``[..., F]`` from digits ``[..., 2T]`` that broadcast.

        For the left prompt and for the right one: the covered share of its weight, ``exp`` of minus the uncovered
        weight, and of minus the heaviest uncovered word. All lie in 0 to 1, and are 1 between equal prompts.
        """
        left_T, right_T = self._tokens(left), self._tokens(right)
        same_TT = self._words(left_T, -1)[..., :, None] == self._words(right_T, -2)[..., None, :]
        sides = [
            self._coverage(left_T, same_TT.any(axis=-1)),
            self._coverage(right_T, same_TT.any(axis=-2)),
        ]
        features: Floats = np.stack([side[part] for part in range(3) for side in sides], axis=-1)
        return features

    def _tokens(self, digits: NDArray[np.floating]) -> Ints:
        tokens_T = read_tokens(digits)
        # what the vocabulary does not know is as good as absent
        return np.where(tokens_T < len(self.word_N), tokens_T, -1)

    def _words(self, tokens: Ints, absent: int) -> Ints:
        return np.where(tokens >= 0, self.word_N[tokens], absent)

    def _coverage(self, tokens: Ints, covered: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
        weight = np.where(tokens >= 0, self.weight_N[tokens], np.float32(0))
        bare = np.where(covered, np.float32(0), np.broadcast_to(weight, covered.shape))
        uncovered = bare.sum(axis=-1)
        share = 1 - uncovered / np.maximum(weight.sum(axis=-1), np.float32(1e-6))
        return share, np.exp(-uncovered / _SCALE), np.exp(-bare.max(axis=-1) / _SCALE)


def read_tokens(digits: NDArray[np.floating]) -> Ints:
    """Tokens ``[..., T]`` from digits ``[..., 2T]``, see `sola_scale.backbone.views.token_row`; -1 where there is none."""
    whole = digits.astype(np.int64)
    tokens_T: Ints = np.maximum((whole[..., 0::2] - 1) * DIGIT + whole[..., 1::2], -1)
    return tokens_T


def fit_lexicon(digits_BD: NDArray[np.floating], spelling_N: Sequence[str] | None, *, view: int) -> Lexicon:
    """Weigh words by how many texts hold them.

    Args:
        digits_BD: the texts' view of their tokens, ``[B, D]``.
        spelling_N: the vocabulary, as written; None takes every token for a word of its own.
        view: place of that view on the view axis.
    """
    places = min(TOKENS, digits_BD.shape[1] // 2)
    tokens_BT = read_tokens(digits_BD[:, : 2 * places])
    size = len(spelling_N) if spelling_N is not None else int(tokens_BT.max(initial=0)) + 1
    word_N = np.arange(size) if spelling_N is None else _words_of(spelling_N)
    held_N = np.zeros(size, np.int64)
    for tokens_T in tokens_BT:
        held_N[np.unique(word_N[tokens_T[tokens_T >= 0]])] += 1
    weight_N = np.log((len(tokens_BT) + 1) / (held_N[word_N] + 1)).astype(np.float32)
    return Lexicon(view=view, places=places, word_N=word_N, weight_N=weight_N)


def vocabulary(tokenizer: Any) -> list[str]:
    """The spelling of every token, by number."""
    spellings: list[str] = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return spellings


def _words_of(spelling_N: Sequence[str]) -> Ints:
    """Number the words: the first token of a word gives it its number."""
    first: dict[str, int] = {}
    return np.array(
        [first.setdefault(_plain(text) or text, number) for number, text in enumerate(spelling_N)],
        dtype=np.int64,
    )


def _plain(text: str | None) -> str:
    # the marks that byte-level and sentence-piece vocabularies put for a space
    return (text or "").lstrip("\u0120\u2581 ").lower()
