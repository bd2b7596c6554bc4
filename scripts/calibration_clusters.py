"""Clusters of calibration pairs: several relations of one subject, and the same ones of a subject one word away.

What a router takes for one another is not random: "the mother of" and "the father of" one person, NGC 634 and NGC 643.
A cluster puts such questions into one store. Relations also appear under their plain names ("The birthplace of X is",
"X birthplace"), as tables and knowledge bases put them.
"""

import random
from collections.abc import Iterator
from typing import Protocol

NEIGHBOURS = 3
"""Relations drawn from this far up and down the list, where the related ones stand."""
NAMED = ("The {} of [X] is", "[X] {}", "What is the {} of [X]?", "[X]'s {} is")
"""How a relation is put by its name; it fills the braces."""

Relations = dict[str, dict[str, list[str]]]
Pair = dict[str, object]


class Crowds(Protocol):
    """Makes subjects."""

    def crowd(self, kind: str, size: int) -> list[str]:
        """Draw ``size`` different subjects of a kind."""
        ...

    def lengthen(self, kind: str, subject: str) -> str:
        """Make a long subject of a short one."""
        ...


class Clusters:
    """Draws clusters of pairs."""

    def __init__(
        self,
        rng: random.Random,
        subjects: Crowds,
        relations: Relations,
        asides: list[str],
        *,
        long: bool = False,
    ) -> None:
        self._long = long
        self._rng, self._subjects, self._relations, self._asides = rng, subjects, relations, asides
        # Kinds with many relations come up more often, within limits.
        self._kinds = [kind for kind, group in relations.items() for _ in range(min(24, max(2, len(group))))]
        self._seen: set[str] = set()

    def pairs(self, count: int) -> Iterator[Pair]:
        """Write ``count`` clusters, about seven pairs each."""
        for _ in range(count):
            kind = self._rng.choice(self._kinds)
            subject = self._subjects.crowd(kind, 1)[0]
            if self._long:
                subject = self._subjects.lengthen(kind, subject)
            cluster = [self._ask(kind, relation) for relation in self._choose(kind)]
            prompts = [texts[0].replace("[X]", subject) for texts in cluster]
            twin = self._twin(kind, subject)
            for place, texts in enumerate(cluster):
                siblings = [prompt for prompt in prompts if prompt != prompts[place]]
                yield from self._pair([text.replace("[X]", subject) for text in texts], siblings[:2])
                if self._rng.random() < 0.6:
                    yield from self._pair([texts[0].replace("[X]", twin)], [])

    def _choose(self, kind: str) -> list[str]:
        names = list(self._relations[kind])
        place = self._rng.randrange(len(names))
        near = names[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
        self._rng.shuffle(near)
        return list(dict.fromkeys([*near[:3], self._rng.choice(names), self._rng.choice(names)]))

    def _ask(self, kind: str, relation: str) -> list[str]:
        """Two phrasings with the gap still in them, often one of them by the relation's name."""
        phrasings = self._rng.sample(self._relations[kind][relation], 2)
        if self._rng.random() < 0.5:
            phrasings[1] = self._rng.choice(NAMED).format(relation)
        if self._rng.random() < 0.2:
            phrasings.reverse()
        if self._rng.random() < 0.25:
            phrasings[1] = f"{self._rng.choice(self._asides)} {phrasings[1]}"
        return phrasings

    def _twin(self, kind: str, subject: str) -> str:
        """A subject with one word exchanged, or one number."""
        words = subject.split()
        place = self._rng.randrange(len(words))
        others = self._subjects.crowd(kind, 1)[0].split()
        other = others[min(place, len(others) - 1)]
        if words[place].isdigit():
            other = str(self._rng.randint(2, 9999))
        exchanged = " ".join([*words[:place], other, *words[place + 1 :]])
        return exchanged if exchanged != subject else self._subjects.crowd(kind, 1)[0]

    def _pair(self, texts: list[str], siblings: list[str]) -> Iterator[Pair]:
        if self._seen.intersection(texts):
            return
        self._seen.update(texts)
        negatives = [{"prompt": prompt, "kind": "same-subject"} for prompt in siblings]
        yield {"prompt": texts[0], "paraphrases": texts[1:], "negatives": negatives}
