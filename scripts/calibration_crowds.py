"""Crowds of questions: one relation of several subjects, whose names are alike."""

import random
from collections.abc import Iterator

from calibration_asides import Asides
from calibration_clusters import Clusters
from calibration_questions import Miss, Question
from calibration_relations import Relation
from calibration_slips import Slips
from calibration_subjects import Subjects

CROWD = 6
"""Subjects of a crowd."""
TEXTS = 3
"""Wordings of a question: the prompt and two paraphrases."""


class Crowds:
    """Draws crowds."""

    def __init__(
        self,
        rng: random.Random,
        subjects: Subjects,
        relations: dict[str, list[Relation]],
        asides: Asides,
        clusters: Clusters,
    ) -> None:
        self._rng, self._subjects, self._asides, self._clusters = rng, subjects, asides, clusters
        self._slips = Slips(rng)
        self._places = [(kind, relation) for kind, group in relations.items() for relation in group]
        self._weights = [relation.weight for _, relation in self._places]

    def crowd(self) -> Iterator[Question]:
        """Ask a relation of a crowd of subjects."""
        ((kind, relation),) = self._rng.choices(self._places, self._weights)
        subjects = self._subjects.crowd(kind, CROWD)
        for place, subject in enumerate(subjects):
            other = subjects[place - 1]
            near = Miss(
                key=(relation.title, other),
                text=self._rng.choice(relation.draw(self._rng, TEXTS)).replace("[X]", other),
                kind="same-relation",
            )
            drawn = relation.draw(self._rng, TEXTS)
            texts = [text.replace("[X]", subject) for text in drawn]
            yield Question(
                key=(relation.title, subject),
                texts=self._asides.among(self._slips.among(texts)),
                misses=[near, self._clusters.stranger(kind, relation, subject, near=drawn[0])],
                aside=self._asides.sentence(),
            )
