"""Facts: what edits change, told by a subject and an answer, for sets name relations differently or not at all."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any


class Facts:
    """Numbers facts, and knows whether a text asks for one of them."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._subjects: dict[str, set[str]] = defaultdict(set)
        self._count = 0

    def enter(self, subject: str, answers: Iterable[str]) -> int:
        """The number of a subject's fact: that of a known one with an answer in common, else a new one."""
        keys = [(subject, plain) for plain in map(_plain, answers) if plain]
        number = next((self._numbers[key] for key in keys if key in self._numbers), self._count)
        self._count += number == self._count
        for key in keys:
            self._numbers.setdefault(key, number)
            self._subjects[key[1]].add(subject)
        return number

    def asked_by(self, text: str, answers: Iterable[str], subject: str = "") -> bool:
        """Whether a text that has one of the answers asks for a known fact.

        Args:
            text: the text.
            answers: what it is answered by.
            subject: whom it speaks of. Default: unknown, to be told by the names it holds.
        """
        known = {one for answer in answers for one in self._subjects.get(_plain(answer), ())}
        return subject in known if subject else any(_speaks_of(text, one) for one in known)


def answers_of(value: Any) -> tuple[str, ...]:
    """The answers in a field of a record: a string, a list, or KAMEL's objects with their other spellings."""
    if isinstance(value, list):
        return tuple(answer for part in value for answer in answers_of(part))
    if isinstance(value, dict):
        spellings = [value.get("chosen"), value.get("rdf"), *value.get("alternative", [])]
        return tuple(dict.fromkeys(str(one) for one in spellings if one))
    return (str(value),)


def _plain(answer: str) -> str:
    return " ".join(re.findall(r"\w+", answer.casefold()))


def _speaks_of(text: str, subject: str) -> bool:
    """Whether a text holds a subject and, but for the word it begins with, no other name."""
    found = re.search(rf"\b{re.escape(subject)}\b", text) if subject else None
    if found is None:
        return False
    rest = [*re.findall(r"\w+", text[: found.start()])[1:], *re.findall(r"\w+", text[found.end() :])]
    return not any(word[0].isupper() or word[0].isdigit() for word in rest)
