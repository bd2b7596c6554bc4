"""A question of the calibration pairs, and the book in which every question stands once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Key = tuple[str, str]
"""What a text asks: the title of the relation, and the subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A text near a question that asks something else."""

    key: Key
    """What it asks."""
    text: str
    """A wording of that."""
    kind: str
    """``same-subject`` or ``same-relation``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question, before near misses that are questions themselves are given their prompts."""

    key: Key
    """What it asks."""
    texts: list[str]
    """The prompt, then its paraphrases."""
    misses: list[Miss]
    """Near misses."""
    aside: str = ""
    """A sentence that asks nothing, if it is to serve as a negative."""


class Book:
    """Keeps every question once, and every text with one question."""

    def __init__(self) -> None:
        self._questions: dict[Key, Question] = {}
        self._asked: dict[str, Key] = {}

    def __len__(self) -> int:
        return len(self._questions)

    def enter(self, questions: Iterable[Question]) -> None:
        """Enter questions; one that is known, or whose prompt asks another one, is left out."""
        for question in questions:
            own = [text for text in question.texts if self._asked.get(text, question.key) == question.key]
            if question.key in self._questions or own[:1] != question.texts[:1]:
                continue
            self._asked.update(dict.fromkeys(own, question.key))
            self._questions[question.key] = Question(
                key=question.key, texts=own, misses=question.misses, aside=question.aside
            )

    def pairs(self) -> Iterator[dict[str, object]]:
        """Write the questions. A near miss that is one of them takes its prompt: what asks the same is known to."""
        for question in self._questions.values():
            misses = {self._text(miss): miss.kind for miss in question.misses}
            negatives = [{"prompt": text, "kind": kind} for text, kind in misses.items()]
            if question.aside:
                negatives.append({"prompt": question.aside, "kind": "unrelated"})
            yield {
                "prompt": question.texts[0],
                "paraphrases": question.texts[1:],
                "negatives": negatives,
                "relation": question.key[0],
            }

    def _text(self, miss: Miss) -> str:
        known = self._questions.get(miss.key)
        return known.texts[0] if known else miss.text
