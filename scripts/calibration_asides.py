"""What stands before a question and asks nothing: sentences about others, scraps of layout, statements of another fact."""

import random

from calibration_relations import Relation
from calibration_subjects import HERE, Subjects

CLOZE_SHARE, QUESTION_SHARE = 0.3, 0.1
"""Share of paraphrases that follow an aside: of prompts to be continued, and of questions."""
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

    def before(self, text: str) -> str:
        """Put an aside before some texts."""
        share = QUESTION_SHARE if text.endswith("?") else CLOZE_SHARE
        if self._rng.random() >= share:
            return text
        aside = self._state() if self._rng.random() < STATED else self.sentence()
        return f"{aside} {text}"

    def _state(self) -> str:
        kind, text = self._rng.choice(self._stated)
        return self._subjects.fill(f"{text.replace('[X]', self._subjects.one(kind))} [first] [last].")
