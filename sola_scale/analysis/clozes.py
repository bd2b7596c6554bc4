"""What CounterFact asks: its clozes taken apart into relation and subject, to be crossed."""

from collections.abc import Iterable
from typing import Any

from sola_scale.analysis.crossing import GAP, Asked

_RELATIONS = {
    ("person", "native language"): [
        "The mother tongue of [X] is", "The native language of [X] is", "[X] spoke the language",
        "[X] is a native speaker of", "[X], a native",
    ],
    ("person", "work location"): [
        "[X] was employed in", "[X] used to work in", "[X] worked in the city of", "[X] found employment in",
        "[X] took up work in", "[X] worked in",
    ],
    ("person", "death place"): [
        "[X] died at", "[X] died in the city of", "[X]'s life ended in", "[X] passed away in", "[X] passed away at",
        "[X] expired at", "[X] lost their life at", "[X] died in",
    ],
    ("person", "birthplace"): [
        "[X] originates from", "[X] was born in", "[X] originated from", "[X] is native to", "[X] was native to",
        "[X] is originally from",
    ],
    ("person", "occupation"): [
        "The occupation of [X] is", "[X] works as", "[X]'s profession is a", "[X], who works as",
        "[X]'s profession is an", "The profession of [X] is", "[X]'s occupation is",
    ],
    ("person", "nationality"): [
        "[X] holds a citizenship from", "[X] has a citizenship from", "[X], a citizen of",
        "[X], who is a citizen of", "[X] is a citizen of", "[X], who has a citizenship from",
    ],
    ("person", "field of work"): [
        "[X]'s expertise is", "The domain of work of [X] is", "The domain of activity of [X] is",
        "[X] works in the area of", "[X]'s area of work is", "[X] specializes in", "[X] works in the field of",
    ],
    ("person", "religion"): [
        "[X] follows the religion of", "The official religion of [X] is", "[X] is follower of",
        "[X] is affiliated with the religion",
    ],
    ("person", "employer"): [
        "[X] works for", "[X] is employed by", "[X], who is employed by", "[X], who works for",
    ],
    ("work", "language"): [
        "The language of [X] is", "The language of [X] was", "The original language of [X] is",
        "The original language of [X] was", "[X] was written in", "[X] is written in",
    ],
    ("work", "original network"): [
        "[X] debuted on", "[X] premieres on", "[X] was originally aired on", "[X] is to debut on", "[X] premiered on",
    ],
    ("work", "country of origin"): [
        "[X], that was created in", "[X] was created in", "[X], that originated in", "[X] was formed in",
        "[X] was developed in", "[X] was created in the country of", "[X] originated in",
    ],
    ("work", "maker"): [
        "[X], developed by", "[X], created by", "[X] is created by", "[X] is developed by", "[X] is produced by",
        "[X] was created by",
    ],
    ("organisation", "headquarters"): [
        "The headquarter of [X] is located in", "The headquarters of [X] is in", "[X] is based in",
        "[X], whose headquarters are in", "[X]'s headquarters are in", "The headquarter of [X] is in",
    ],
    ("organisation", "founding place"): [
        "[X] was founded in", "[X] was started in", "[X], that was formed in", "[X] formed in",
    ],
    ("organisation", "owner"): ["[X] is owned by", "[X]'s owner", "[X] owner"],
    ("organisation", "named after"): ["[X] is named after", "[X] was named for", "[X] is called after"],
    ("place", "language"): [
        "The law in [X] declares the language", "The official language of [X] is", "In [X], they understand",
        "In [X], the language spoken is", "In [X], an official language is",
    ],
    ("place", "capital"): [
        "The capital of [X] is", "[X], which has the capital", "[X]'s capital is",
        "[X], which has the capital city",
    ],
    ("place", "continent"): [
        "[X] belongs to the continent of", "[X] is located in the continent", "[X] is a part of the continent of",
    ],
    ("place", "twin"): [
        "[X] is a twin city of", "What is the twin city of [X]? It is", "The twin city of [X] is",
    ],
}  # fmt: skip
"""Kind and relation, called as in the shipped questions, and the clozes for them that leave no doubt."""

_OF_CLOZE = {cloze: known for known, clozes in _RELATIONS.items() for cloze in clozes}


def asked_by_counterfact(records: Iterable[dict[str, Any]]) -> list[Asked]:
    """The questions whose cloze is known, each with its loose rewording, the aside before it cut off."""
    found = []
    for record in records:
        cloze = record["prompt"].replace(record["subject"], GAP)
        loose = last_sentence(record["rephrase_prompt"], record["subject"]).replace(record["subject"], GAP)
        if cloze in _OF_CLOZE and GAP in loose and loose != cloze:
            found.append(Asked(*_OF_CLOZE[cloze], record["subject"], (cloze, loose)))
    return found


def relation_of_cloze(cloze: str) -> str:
    """Kind and relation of a cloze with the gap in the subject's place; the cloze itself if it is not known."""
    return " / ".join(_OF_CLOZE[cloze]) if cloze in _OF_CLOZE else cloze


def last_sentence(text: str, subject: str) -> str:
    """What begins with the sentence that names the subject for the last time; nothing if none does."""
    place = text.rfind(subject)
    if place < 0:
        return ""
    start = max(text.rfind(mark, 0, place) for mark in (". ", "? ", "! ", "\n"))
    return text[start + 1 :].strip() if start >= 0 else text
