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
KIND_ENDS = " / "
"""Ends the kind in the name of a relation, "person / father"."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """All texts of some pairs."""

    texts: tuple[str, ...]
    """Every text once."""
    question_N: Ints
    """Texts of one number ask the same question."""
    subject_N: Ints
    """Texts of one number are known to speak of the same subject: a question and its same-subject negatives."""
    relation_N: Ints
    """Texts of one number ask for the same relation, whoever the subject, as far as that is known: by its name, or because
    they ask the same question."""
    kind_N: Ints
    """Relations of one number are asked of subjects of one kind, and are known to differ; -1 where no kind is named."""
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
        asked = builder.add(pair.prompt, role=ASKED, prompt=True)
        if pair.relation:
            builder.join(builder.named(pair.relation, asked), asked, "relation")
        for paraphrase in pair.paraphrases:
            builder.join(
                asked, builder.add(paraphrase, role=ASKED, prompt=False), "question", "subject", "relation"
            )
        for negative in pair.negatives:
            place = builder.add(negative.prompt, role=KINDS.index(negative.kind), prompt=False)
            if negative.kind == "same-subject":
                builder.join(asked, place, "subject")
    return builder.corpus()


class _Builder:
    """Texts, with union-find over what they share."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._parent: dict[str, list[int]] = {"question": [], "subject": [], "relation": []}
        self._role: list[int] = []
        self._prompt: list[bool] = []
        self._named: dict[str, int] = {}

    def named(self, relation: str, place: int) -> int:
        """The first text that is known to ask for a relation."""
        return self._named.setdefault(relation, place)

    def add(self, text: str, *, role: int, prompt: bool) -> int:
        place = self._place.setdefault(text, len(self._place))
        if place == len(self._role):
            for parent in self._parent.values():
                parent.append(place)
            self._role.append(role)
            self._prompt.append(prompt)
        self._role[place] = max(self._role[place], role)
        self._prompt[place] |= prompt
        return place

    def join(self, left: int, right: int, *kinds: str) -> None:
        for kind in kinds:
            parent = self._parent[kind]
            parent[_root(parent, right)] = _root(parent, left)

    def corpus(self) -> Corpus:
        groups = {
            f"{kind}_N": np.array([_root(parent, place) for place in range(len(parent))], dtype=np.int64)
            for kind, parent in self._parent.items()
        }
        return Corpus(
            texts=tuple(self._place),
            kind_N=self._kinds(groups["relation_N"]),
            role_N=np.array(self._role, dtype=np.int64),
            prompt_N=np.array(self._prompt, dtype=np.bool_),
            **groups,
        )

    def _kinds(self, relation_N: Ints) -> Ints:
        """The kind of every text's relation, told by its name, "kind / relation"."""
        named = {
            relation_N[place]: name.split(KIND_ENDS)[0]
            for name, place in self._named.items()
            if KIND_ENDS in name
        }
        number = {kind: place for place, kind in enumerate(sorted(set(named.values())))}
        return np.array([number[named[one]] if one in named else -1 for one in relation_N], dtype=np.int64)


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place
