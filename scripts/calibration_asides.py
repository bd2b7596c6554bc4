"""What stands before a question and asks nothing: sentences about others, scraps of layout, statements of another fact."""

import random

from calibration_relations import Relation
from calibration_subjects import HERE, Subjects

CLOZE_SHARE, QUESTION_SHARE = 0.45, 0.15
"""Share of wordings that follow an aside where one may: of prompts to be continued, and of questions."""
STATED = 0.2
"""Share of asides that state a fact of another subject in words by which a question could ask for it."""


class Asides:
    """Draws asides."""

    def __init__(self, rng: random.Random, subjects: Subjects, relations: dict[str, list[Relation]]) -> None:
        self._rng, self._subjects = rng, subjects
        lines = (HERE / "asides.txt").read_text(encoding="utf-8").splitlines()
        self._forms = [line.replace("\\n", "\n") for line in lines if line and not line.startswith("#")]
        self._stated = [
            (kind, text)
            for kind, group in relations.items()
            for relation in group
            if relation.who
            for text in relation.phrasings
            if not text.endswith("?")
        ]

    def sentence(self) -> str:
        """Draw a sentence that asks nothing."""
        return self._subjects.fill(self._rng.choice(self._forms))

    def among(self, texts: list[str]) -> list[str]:
        """Put asides before some of a question's texts, never the first or the last: edits are made of these."""
        return [texts[0], *map(self._before, texts[1:-1]), *texts[1:][-1:]]

    def _before(self, text: str) -> str:
        share = QUESTION_SHARE if text.endswith("?") else CLOZE_SHARE
        if self._rng.random() >= share:
            return text
        aside = self._state() if self._rng.random() < STATED else self.sentence()
        return f"{aside} {text}"

    def _state(self) -> str:
        kind, text = self._rng.choice(self._stated)
        return self._subjects.fill(f"{text.replace('[X]', self._subjects.one(kind))} [first] [last].")
