"""Neighbours of edits: prompts that are meant to ask something else, and sometimes do not."""

import re

_STEM = 5
_SAYS_LITTLE = frozenset(
    ["of", "the", "in", "is", "or", "a", "an", "by", "to", "for", "from", "and", "part", "has"]
)
_ASKS_ONLY = frozenset(
    ["what", "which", "who", "where", "when", "was", "were", "are", "does", "did", "do", "it"]
)
"""Words that ask and say nothing; none is longer than a stem."""


def names_relation_of(prompt: str, neighbour: str, subject: str) -> bool:
    """Whether an edit's prompt holds every word of the relation that a neighbour of its subject asks for by name.

    "The record label of X is" asks what "Which was the record label for X?" asks, and "X designed by" what "Who is the
    designer of X?" asks, though the set calls it another relation and spells its answer differently ("Blue Note", "Blue
    Note Records"). Words count as the same if they begin alike.
    """
    relation = neighbour.replace(subject, " ")
    relation = relation[len("The ") : -len(" is")] if relation.startswith("The ") else relation
    words = _content(relation)
    return bool(words) and words <= _content(prompt.replace(subject, " "))


def words_of(text: str) -> frozenset[str]:
    """What a prompt says, however it asks: "The official language of X is" and "What is the official language of X?"."""
    return frozenset(_content(text)) - _ASKS_ONLY


def lines_with(text: str, part: str) -> list[str]:
    """The lines of a text that hold ``part``; one pass over a long text is faster than one over each of its lines."""
    found, place = [], text.find(part)
    while place >= 0:
        end = text.find("\n", place)
        end = len(text) if end < 0 else end
        found.append(text[text.rfind("\n", 0, place) + 1 : end])
        place = text.find(part, end)
    return found


def _content(text: str) -> set[str]:
    return {word[:_STEM] for word in re.findall(r"\w+", text.lower()) if word not in _SAYS_LITTLE}
