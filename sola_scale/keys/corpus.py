"""The texts of calibration pairs, each once, with the question it asks.

Shape legend: N texts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sola_scale.keys.pairs import KINDS, Pairs

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ASKED = KINDS.index("unrelated") + 1
"""Role of a prompt or paraphrase; the lower roles are the kinds of negatives, in the order of ``KINDS``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """All texts of some pairs."""

    texts: tuple[str, ...]
    """Every text once."""
    question_N: Ints
    """Texts of one number ask the same question."""
    role_N: Ints
    """``ASKED``, or a place in ``KINDS`` for a text known only as a negative."""
    prompt_N: Bools
    """Whether an edit is made for it: the prompts of the pairs. Give prompts without paraphrases to make a crowd."""

    def __len__(self) -> int:
        return len(self.texts)


def corpus_of(pairs: Iterable[Pairs]) -> Corpus:
    """Collect the texts; pairs that share a text are one question."""
    builder = _Builder()
    for pair in pairs:
        question = builder.add(pair.prompt, role=ASKED, prompt=True)
        for paraphrase in pair.paraphrases:
            builder.merge(question, builder.add(paraphrase, role=ASKED, prompt=False))
        for negative in pair.negatives:
            builder.add(negative.prompt, role=KINDS.index(negative.kind), prompt=False)
    return builder.corpus()


class _Builder:
    """Texts with union-find over their questions."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._parent: list[int] = []
        self._role: list[int] = []
        self._prompt: list[bool] = []

    def add(self, text: str, *, role: int, prompt: bool) -> int:
        place = self._place.setdefault(text, len(self._place))
        if place == len(self._parent):
            self._parent.append(place)
            self._role.append(role)
            self._prompt.append(prompt)
        self._role[place] = max(self._role[place], role)
        self._prompt[place] |= prompt
        return place

    def merge(self, left: int, right: int) -> None:
        self._parent[self._root(right)] = self._root(left)

    def _root(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def corpus(self) -> Corpus:
        return Corpus(
            texts=tuple(self._place),
            question_N=np.array([self._root(place) for place in range(len(self._parent))], dtype=np.int64),
            role_N=np.array(self._role, dtype=np.int64),
            prompt_N=np.array(self._prompt, dtype=np.bool_),
        )
