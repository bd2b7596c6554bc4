"""Crossed questions: of a public set's subjects, what the set asks of others of their kind, in its own wordings.

The sets ask one thing of most subjects. What decides a route is what else might be asked of the same one, so the relations
of other subjects are asked of it as well: Carl Sagan's employer is given, his spouse is not, and is asked for as others'
spouses are.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sola_scale.keys import Negative, Pairs

GAP = "[X]"
"""Stands for the subject in a wording."""

_MQUAKE = {
    "person": {
        "nationality": "(.+) is a citizen of ",
        "religion": "(.+) is affiliated with the religion of ",
        "sport": "(.+) is associated with the sport of ",
        "music genre": "The type of music that (.+) plays is ",
        "education": "The univeristy where (.+) was educated is ",
        "playing position": "(.+) plays the position of ",
        "birthplace": "(.+) was born in the city of ",
        "death place": "(.+) died in the city of ",
        "work location": "(.+) worked in the city of ",
        "spouse": "(.+) is married to ",
        "child": "(.+)'s child is ",
        "employer": "(.+) is employed by ",
        "notable work": "(.+) is famous for ",
        "languages spoken": "(.+) speaks the language of ",
        "field of work": "(.+) works in the field of ",
    },
    "organisation": {
        "headquarters": "The headquarters of (.+) is located in ",
        "leader": "The chairperson of (.+) is ",
        "chief executive": "The chief executive officer of (.+) is ",
        "founder": "(.+) was founded by ",
        "founding place": "(.+) was founded in the city of ",
    },
    "work": {
        "author": "The author of (.+) is ",
        "original network": "The origianl broadcaster of (.+) is ",
        "performer": "(.+) was performed by ",
        "language": "(.+) was written in the language of ",
    },
    "product": {
        "manufacturer": "The company that produced (.+) is ",
        "developer": "(.+) was developed by ",
        "country of origin": "(.+) was created in the country of ",
        "creator": "(.+) was created by ",
    },
    "country": {
        "head of state": "The name of the current head of state in (.+) is ",
        "head of government": "The name of the current head of the (.+?) government is ",
        "official language": "The official language of (.+) is ",
        "capital": "The capital of (.+) is ",
    },
}
"""Kind → relation → how MQuAKE writes the fact (spelled as there). Kinds and relations are called as in the shipped questions."""


class Asked(NamedTuple):
    """A question of a set, taken apart."""

    kind: str
    """Sort of subject."""
    relation: str
    """What is asked."""
    subject: str
    """Of whom."""
    wordings: tuple[str, ...]
    """How, with the gap in the subject's place."""


def asked_by_mquake(records: Iterable[dict[str, Any]]) -> list[Asked]:
    """The questions whose relation is known and whose wordings all name the subject."""
    found = []
    for record in records:
        known = relation_of(record["edit"])
        if known and all(known[2] in question for question in record["questions"]):
            wordings = tuple(dict.fromkeys(text.replace(known[2], GAP) for text in record["questions"]))
            found.append(Asked(*known, wordings))
    return found


def relation_of(fact: str) -> tuple[str, str, str] | None:
    """Kind, relation and subject of a fact as MQuAKE writes it."""
    for kind, relations in _MQUAKE.items():
        for relation, form in relations.items():
            match = re.match(form, fact)
            if match:
                return kind, relation, match[1]
    return None


def cross(asked: Sequence[Asked], *, subjects: int, each: int, seed: int) -> list[Pairs]:
    """Ask of some subjects what the set asks of others of their kind.

    Args:
        asked: the set.
        subjects: of how many, at most.
        each: further relations of each.
        seed: which.
    """
    rng = random.Random(seed)  # noqa: S311 (a draw that can be repeated, no secret)
    wordings: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in asked:
        wordings[one.kind, one.relation].append(one.wordings)
        known[one.kind, one.subject].add(one.relation)
    chosen = sorted(known)
    rng.shuffle(chosen)
    pairs = []
    for kind, subject in chosen[:subjects]:
        other = sorted({relation for place, relation in wordings if place == kind} - known[kind, subject])
        relations = rng.sample(other, min(each, len(other)))
        texts = [
            [text.replace(GAP, subject) for text in rng.choice(wordings[kind, name])] for name in relations
        ]
        pairs += _pairs(kind, relations, texts)
    return pairs


def _pairs(kind: str, relations: list[str], texts: list[list[str]]) -> list[Pairs]:
    """Questions about one subject: each is a near miss of the others."""
    prompts = [wordings[0] for wordings in texts]
    return [
        Pairs(
            prompt=prompts[place],
            paraphrases=tuple(texts[place][1:]),
            negatives=tuple(
                Negative(prompt=prompt, kind="same-subject") for prompt in prompts if prompt != prompts[place]
            ),
            relation=f"{kind} / {relation}",
        )
        for place, relation in enumerate(relations)
        if len(texts[place]) > 1
    ]
