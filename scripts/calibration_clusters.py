"""Clusters of questions: several relations of one subject, and the same ones of a subject one word away.

What a router takes for one another is not random: "the mother of" and "the father of" one person, NGC 634 and NGC 643.
A cluster puts such questions into one store.
"""

import random
from collections.abc import Iterator

from calibration_asides import Asides
from calibration_questions import Miss, Question
from calibration_relations import Relation
from calibration_slips import Slips
from calibration_subjects import Subjects

NEIGHBOURS = 3
"""Relations drawn from this far up and down the list, where the related ones stand."""
RIVALS, NEAR, FAR = 3, 2, 2
"""Relations of a cluster beside the first: its rivals, such neighbours, and others of the kind."""
TEXTS = 4
"""Wordings of a question: the prompt and three paraphrases."""
TWINS = 0.35
"""Share of questions that are also asked of the subject's twin."""
RIVAL_SHARE = 0.6
"""Share of near misses from outside the cluster that ask for a rival of the relation, if it has any."""
CLOSEST = 0.3
"""Share of near misses, and of the prompts of a cluster's rivals, in the wording that differs least."""
STRANGERS = 0.5
"""Share of questions with a near miss from outside the cluster: no edit is made for it."""


class Clusters:
    """Draws clusters."""

    def __init__(
        self, rng: random.Random, subjects: Subjects, relations: dict[str, list[Relation]], asides: Asides
    ) -> None:
        self._rng, self._subjects, self._relations, self._asides = rng, subjects, relations, asides
        self._slips = Slips(rng)
        # Kinds with many wordings come up more often, if not in proportion.
        self._weights = [sum(len(item.phrasings) for item in group) ** 0.7 for group in relations.values()]

    def cluster(self, *, long: bool) -> Iterator[Question]:
        """Draw some six relations of a subject, about a third of them of its twin too."""
        kind = self._rng.choices(list(self._relations), self._weights)[0]
        subject = self._subjects.one(kind)
        if long:
            subject = self._subjects.lengthen(kind, subject)
        twin = self._subjects.twin(kind, subject)
        chosen = self._choose(self._relations[kind])
        drawn = [relation.draw(self._rng, TEXTS) for relation in chosen]
        for place, relation in enumerate(chosen[1:], 1):
            if relation.title in chosen[0].rivals and self._rng.random() < CLOSEST:
                closest = relation.closest(drawn[0][0])
                drawn[place] = list(dict.fromkeys([closest, *drawn[place]]))[:TEXTS]
        for place, relation in enumerate(chosen):
            others = {place - 1, (place + 1) % len(chosen), self._rng.randrange(len(chosen)) - 1}
            misses = [
                Miss(
                    key=(chosen[other].title, subject),
                    text=drawn[other][0].replace("[X]", subject),
                    kind="same-subject",
                )
                for other in sorted(others)
                if chosen[other] is not relation
            ]
            yield from self._ask(kind, relation, drawn[place], subjects=(subject, twin), misses=misses)

    def _ask(
        self,
        kind: str,
        relation: Relation,
        texts: list[str],
        *,
        subjects: tuple[str, str],
        misses: list[Miss],
    ) -> Iterator[Question]:
        subject, twin = subjects
        if self._rng.random() < STRANGERS:
            misses.append(self.stranger(kind, relation, subject, near=texts[0]))
        if self._rng.random() < TWINS:
            key, text = (relation.title, twin), texts[0].replace("[X]", twin)
            misses.append(Miss(key=key, text=text, kind="same-relation"))
            yield Question(key=key, texts=[text], misses=[])
        texts = self._asides.among(self._slips.among([text.replace("[X]", subject) for text in texts]))
        yield Question(key=(relation.title, subject), texts=texts, misses=misses)

    def stranger(self, kind: str, relation: Relation, subject: str, *, near: str) -> Miss:
        """Ask something else about a subject, now and then in the wording that differs least from ``near``."""
        others = [item for item in self._relations[kind] if item is not relation]
        rivals = _rivals(relation, others)
        other = self._rng.choice(rivals if rivals and self._rng.random() < RIVAL_SHARE else others)
        if self._rng.random() < CLOSEST:
            text = other.closest(near)
        else:
            text = self._rng.choice(other.draw(self._rng, TEXTS))
        return Miss(key=(other.title, subject), text=text.replace("[X]", subject), kind="same-subject")

    def _choose(self, group: list[Relation]) -> list[Relation]:
        """A relation, then what it is taken for: near misses are drawn from those that stand side by side."""
        weights = [relation.weight for relation in group]
        place = self._rng.choices(range(len(group)), weights)[0]
        first = group[place]
        rivals = _rivals(first, group)
        near = group[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
        chosen = [
            first,
            *self._rng.sample(rivals, min(RIVALS, len(rivals))),
            *self._rng.sample(near, min(NEAR, len(near))),
            *self._rng.choices(group, weights, k=FAR),
        ]
        return list({relation.title: relation for relation in chosen}.values())


def _rivals(relation: Relation, group: list[Relation]) -> list[Relation]:
    return [other for other in group if other.title in relation.rivals]
