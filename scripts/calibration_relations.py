"""Relations and their wordings: what calibration pairs ask.

``scripts/calibration/relations/`` holds them; its README says how they are written.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from calibration_subjects import HERE, read_sections

NAMED = (
    *("The {} of [X] is", "[X] {}", "What is the {} of [X]?", "[X]'s {} is") * 2,
    "What was the {} of [X]?",
    "What is [X]'s {}?",
    "What was [X]'s {}?",
    "What was the {} for [X]?",
    "Which was the {} for [X]?",
    "Which is the {} of [X]?",
    "What {} does [X] have?",
    "The {} of [X] was",
    "The {} of [X] is what?",
    "The {} for [X] is",
    "The {} of [X]?",
    "[X] has the {}",
    "[X], whose {} is",
)
"""How data sets put a relation by its name, which fills the braces."""
NAMED_WHO = (
    *("The {} of [X] is", "[X] {}", "Who is the {} of [X]?", "[X]'s {} is") * 2,
    "Who was the {} of [X]?",
    "Who is [X]'s {}?",
    "Who was [X]'s {}?",
    "Who was the {} for [X]?",
    "Which was the {} of [X]?",
    "What is the name of the {} of [X]?",
    "What was the name of [X]'s {}?",
    "The name of [X]'s {} is",
    "The {} of [X] was",
    "The {} of [X] is called",
    "The {} of [X]?",
    "[X] {} name",
    "[X], whose {} is",
)
"""The same, if a person or a body answers."""
LEADS = ("It is", "That is", "The answer is")
"""What may follow a question and have the answer follow: "Where was [X] born? It is"."""
NAMED_SHARE, LOOSE_SHARE, LEAD_SHARE = 0.35, 0.25, 0.05
"""Shares of wordings by the relation's name, of loose ones where there are any and they may stand, of questions with a
lead."""
WELL_WORDED = 60
"""Wordings beyond which a relation is not drawn more often still: what people ask most must not drown among what they hardly
ever do, and the ten commonest relations must not drown all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What may be asked of the subjects of one kind."""

    title: str
    """Its place in the file, "kind / relation"."""
    names: tuple[str, ...]
    """What it is called: these fill ``NAMED``."""
    who: bool
    """Whether a person or a body answers."""
    phrasings: tuple[str, ...]
    """Wordings, with [X] for the subject."""
    loose: tuple[str, ...]
    """Indirect wordings, which can be a paraphrase and never the prompt of an edit."""
    rivals: tuple[str, ...] = ()
    """Titles of relations that it is easily taken for."""

    @property
    def weight(self) -> float:
        """How often it is drawn: what can be worded in many ways is what people ask most."""
        return min(len(self.phrasings), WELL_WORDED) ** 1.5

    def named(self) -> list[str]:
        """The wordings by its names."""
        forms = NAMED_WHO if self.who else NAMED
        return [form.format(name) for name in self.names for form in forms]

    def closest(self, text: str) -> str:
        """The wording, but for loose ones, that shares most words with a text: what differs then is what is asked."""
        words = _words(text)

        def alike(wording: str) -> float:
            own = _words(wording)
            return len(own & words) / len(own | words)

        return max((*self.phrasings, *self.named()), key=alike)

    def draw(self, rng: random.Random, count: int) -> list[str]:
        """Draw a prompt and paraphrases of it: up to ``count`` different wordings, neither the first nor the last loose.

        Fitting makes an edit of the prompt, and of every third question's last paraphrase.
        """
        plain, named, loose = (
            iter(rng.sample(texts, len(texts))) for texts in (self.phrasings, self.named(), self.loose)
        )
        drawn: dict[str, None] = {}
        for _ in range(4 * count):
            if len(drawn) == count:
                break
            sources = [named, plain] if rng.random() < NAMED_SHARE else [plain, named]
            if 0 < len(drawn) < count - 1 and rng.random() < LOOSE_SHARE:
                sources.insert(0, loose)
            drawn.update(dict.fromkeys(_next(sources)))
        return [_led(text, rng) for text in drawn]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.lower().rstrip("?").split())


def _led(text: str, rng: random.Random) -> str:
    led = text.endswith("?") and rng.random() < LEAD_SHARE
    return f"{text} {rng.choice(LEADS)}" if led else text


def _next(sources: list[Iterator[str]]) -> Iterator[str]:
    for source in sources:
        for text in source:
            yield text
            return


def read_relations() -> dict[str, list[Relation]]:
    """Kind → relations, related ones side by side.

    Raises:
        ValueError: two relations of a kind share a wording: nobody could tell which of them is asked; or there is no such
            rival.
    """
    relations: dict[str, list[Relation]] = {}
    rivals = _read_rivals()
    for path in sorted((HERE / "relations").glob("*.txt")):
        for title, lines in read_sections(path).items():
            relation = _relation(title, lines, tuple(rivals.pop(title, ())))
            relations.setdefault(title.split(" / ")[0], []).append(relation)
    if rivals:
        raise ValueError(f"rivals.txt names relations that there are not: {sorted(rivals)}")
    for group in relations.values():
        _check(group)
    return relations


def _read_rivals() -> dict[str, list[str]]:
    """The rivals of every relation that has any."""
    rivals: dict[str, dict[str, None]] = {}
    for kind, lines in read_sections(HERE / "rivals.txt").items():
        for line in lines:
            titles = [f"{kind} / {name.strip()}" for name in line.split("|")]
            for title in titles:
                rivals.setdefault(title, {}).update(dict.fromkeys(one for one in titles if one != title))
    return {title: list(others) for title, others in rivals.items()}


def _relation(title: str, lines: list[str], rivals: tuple[str, ...]) -> Relation:
    named = [line for line in lines if line.startswith("=")]
    return Relation(
        title=title,
        names=tuple(name.strip() for line in named for name in line.split(" ", 1)[1].split(",")),
        who=any(line.startswith("=who ") for line in named),
        phrasings=tuple(line for line in lines if line[0] not in "=~"),
        loose=tuple(line[2:] for line in lines if line.startswith("~ ")),
        rivals=rivals,
    )


def _check(group: list[Relation]) -> None:
    asked: dict[str, str] = {}
    for relation in group:
        for text in {*relation.phrasings, *relation.loose, *relation.named()}:
            other = asked.setdefault(text.lower(), relation.title)
            if other != relation.title:
                raise ValueError(f"{text!r} asks for {other} and for {relation.title}")
            if "[X]" not in text:
                raise ValueError(f"{text!r} of {relation.title} has no [X]")
