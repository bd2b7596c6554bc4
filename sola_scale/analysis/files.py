"""A trial from a folder of public editing data: CounterFact, zsRE (KnowEdit), KAMEL, WISE hallucination."""

import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sola_scale.analysis.clozes import asked_by_counterfact, relation_of_cloze
from sola_scale.analysis.crossing import GAP, asked_by_mquake, cross, relation_of
from sola_scale.analysis.facts import Facts, answers_of
from sola_scale.analysis.neighbours import lines_with, names_relation_of, words_of
from sola_scale.analysis.trial import NOBODY, Pool, Trial
from sola_scale.keys import Negative, Pairs, default_pairs

Record = dict[str, Any]

_BESIDE, _UNSEEN = 100_000, 6_000
"""Questions of KAMEL set apart for the crowd of edits, and for strangers to it."""

_OWN = 500
"""About so many edits are asked their own prompt."""


class KamelSplit(NamedTuple):
    """Disjoint records of one set of templates, one a question."""

    crowd: list[Record]
    """Edits beside the tested ones."""
    unseen: list[Record]
    """Asked, but not in the store."""


def read_records(folder: Path, name: str) -> list[Record]:
    """Read ``name.jsonl.gz``; an absent file is an empty set."""
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_trial(folder: Path, *, crowd: int, edits: int = 1500, unseen: int = _UNSEEN) -> Trial:
    """Make the trial: edits of CounterFact and zsRE among a crowd of KAMEL edits.

    Args:
        folder: where the data lies; see ``docs/routing.md`` for the files.
        crowd: KAMEL edits beside the tested ones.
        edits: CounterFact edits tested.
        unseen: KAMEL questions asked whose edit is not in the store.
    """
    builder = _Builder(folder)
    for record in read_records(folder, "counterfact-edit")[:edits]:
        builder.counterfact(record)
    for record in read_records(folder, "zsre-knowedit"):
        builder.zsre(record)
    kamel = split_kamel(folder)
    builder.strangers(kamel.unseen[:unseen])
    builder.ask("unrelated sentence", _sentences(folder))
    return builder.trial(kamel.crowd[:crowd])


def split_kamel(folder: Path, *, seed: int = 5) -> KamelSplit:
    """Split the distinct questions of KAMEL, the same way every time."""
    records: dict[str, Record] = {}
    for record in read_records(folder, "kamel"):
        records.setdefault(record["question"], record)
    questions = list(records.values())
    random.Random(seed).shuffle(questions)  # noqa: S311 (a split, no secret)
    return KamelSplit(crowd=questions[:_BESIDE], unseen=questions[_BESIDE : _BESIDE + _UNSEEN])


def other_questions(folder: Path, prompts: str, *, limit: int = 1000, seed: int = 7) -> list[str]:
    """Clozes of ParaRel about subjects that no edit speaks of.

    Args:
        folder: where the data lies.
        prompts: the edits' prompts, in lines.
        limit: how many, at most.
        seed: which.
    """
    rng = random.Random(seed)  # noqa: S311 (a draw, no secret)
    clozes = {
        record["relation"]: [text for text in record["patterns"] if re.fullmatch(r".*\[Y\]\s*\.?", text)]
        for record in read_records(folder, "pararel-patterns")
    }
    facts, known = read_records(folder, "pararel-facts"), prompts.casefold()
    rng.shuffle(facts)
    texts = [
        rng.choice(clozes[fact["relation"]]).split("[Y]")[0].replace("[X]", fact["subject"]).strip()
        for fact in facts[: 2 * limit]
        if clozes.get(fact["relation"]) and fact["subject"].casefold() not in known
    ]
    return texts[:limit]


def _sentences(folder: Path, limit: int = 150) -> list[str]:
    """First sentences of the passages and of the web texts of the hallucination set."""
    texts: list[str] = []
    for record in read_records(folder, "hallucination-wise")[:limit]:
        texts += [record["prompt"].split(". ")[0][:120], record["locality_prompt"].split(". ")[0][:120]]
    return texts


_SPECS = {
    "an edit's own prompt": ("right", 1.0),
    "CounterFact paraphrase": ("right", 0.90),
    "zsRE paraphrase": ("right", 0.93),
    "KAMEL question not in the store": ("silent", 0.001),
    "CounterFact neighbour (other subject)": ("silent", 0.02),
    "zsRE neighbour (other relation)": ("silent", 0.01),
    "unrelated sentence": ("silent", 0.001),
    "another set's question": ("silent", 0.001),
}
"""What is wanted of each pool, and the project's target."""


class _Neighbour(NamedTuple):
    """A prompt that is meant to ask for another fact than any edit's."""

    pool: str
    text: str
    answers: tuple[str, ...]
    subject: str = ""
    """Whom it speaks of, if the set says so."""


class _Builder:
    """Collects edits, facts and pools."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._edits: dict[str, int] = {}
        self._facts = Facts()
        self._asked: dict[str, list[tuple[str, int]]] = {name: [] for name in _SPECS}
        self._neighbours: list[_Neighbour] = []

    def counterfact(self, record: Record) -> None:
        fact = self._edit(record["prompt"], record["subject"], record["ground_truth"])
        self._asked["CounterFact paraphrase"].append((record["rephrase_prompt"], fact))
        answers = answers_of(record["locality_ground_truth"])
        self._neighbours.append(
            _Neighbour("CounterFact neighbour (other subject)", record["locality_prompt"], answers)
        )

    def zsre(self, record: Record) -> None:
        fact = self._edit(record["prompt"], record["subject"], record["ground_truth"])
        self._asked["zsRE paraphrase"].append((record["rephrase_prompt"], fact))
        self._neighbours += [
            _Neighbour(
                "zsRE neighbour (other relation)",
                entry["prompt"],
                answers_of(entry["ground_truth"]),
                record["subject"],
            )
            for entry in record["locality"].get("Relation_Specificity", [])
        ]

    def strangers(self, records: list[Record]) -> None:
        """Ask KAMEL's questions, but those about a fact that one of the edits so far changes, in another set's words."""
        texts = [
            record["question"]
            for record in records
            if not self._facts.asked_by(
                record["question"], answers_of(record.get("objects", [])), record["subject"]
            )
        ]
        self.ask("KAMEL question not in the store", texts)

    def ask(self, name: str, texts: list[str]) -> None:
        self._asked[name] += [(text, NOBODY) for text in texts]

    def trial(self, crowd: list[Record]) -> Trial:
        prompts = tuple(record["question"] for record in crowd)
        crowd_facts = [
            self._facts.enter(record["subject"], answers_of(record.get("objects", []))) for record in crowd
        ]
        everything = "\n".join([*self._edits, *prompts])
        self.ask("another set's question", other_questions(self._folder, everything))
        self._ask_neighbours(everything, {words_of(prompt) for prompt in (*self._edits, *prompts)})
        # several records of one subject bring the same neighbours
        self._asked = {name: list(dict.fromkeys(asked)) for name, asked in self._asked.items()}
        own = self._asked["an edit's own prompt"]
        self._asked["an edit's own prompt"] = own[:: max(1, len(own) // _OWN)]
        return Trial(
            edits=tuple(self._edits),
            facts=np.array(list(self._edits.values()), dtype=np.int64),
            crowd=prompts,
            crowd_facts=np.array(crowd_facts, dtype=np.int64),
            pools=tuple(self._pools()),
        )

    def _ask_neighbours(self, everything: str, edited: set[frozenset[str]]) -> None:
        """Ask the neighbours, but those whose own fact was edited as well: to fire that edit is right."""
        about = {one.subject: lines_with(everything, one.subject) for one in self._neighbours if one.subject}
        for one in self._neighbours:
            if not (
                words_of(one.text) in edited
                or self._facts.asked_by(one.text, one.answers, one.subject)
                or any(names_relation_of(line, one.text, one.subject) for line in about.get(one.subject, ()))
            ):
                self._asked[one.pool].append((one.text, NOBODY))

    def _pools(self) -> Iterator[Pool]:
        for name, (wanted, target) in _SPECS.items():
            if self._asked[name]:
                yield Pool(
                    name=name,
                    texts=tuple(text for text, _ in self._asked[name]),
                    facts=np.array([fact for _, fact in self._asked[name]], dtype=np.int64),
                    wanted=wanted,
                    target=target,
                )

    def _edit(self, prompt: str, subject: str, answer: Any) -> int:
        # subject and old answer name the fact: the sets do not give the relation
        fact = self._facts.enter(subject, answers_of(answer))
        if prompt not in self._edits:
            self._asked["an edit's own prompt"].append((prompt, fact))
        return self._edits.setdefault(prompt, fact)


def read_fitting_pairs(folder: Path, *, questions: int = 10_000, own: int | None = None) -> list[Pairs]:
    """Pairs for fitting: CounterFact (train) and MQuAKE, both with their subjects crossed, and the shipped pairs.

    Args:
        folder: where the data lies.
        questions: taken of each public set, at most.
        own: shipped questions, at most. Default: all.
    """
    records = read_records(folder, "counterfact-train")[:questions]
    groups = _mquake(folder)[:questions]
    pairs = [*_counterfact_pairs(records), *_mquake_pairs(groups), *default_pairs()[:own]]
    crossed = {"subjects": questions // 5, "each": 3, "seed": 11}
    return [
        *pairs,
        *cross(asked_by_counterfact(records), **crossed),
        *cross(asked_by_mquake(groups), **crossed),
    ]


def _counterfact_pairs(records: list[Record]) -> Iterator[Pairs]:
    by_answer: dict[str, list[str]] = {}
    for record in records:
        by_answer.setdefault(record["ground_truth"], []).append(record["subject"])
    for record in records:
        near = record["locality_prompt"]
        edited = any(subject in near for subject in by_answer.get(record["locality_ground_truth"], []))
        negatives = () if edited else (Negative(prompt=near, kind="same-relation"),)
        cloze = record["prompt"].replace(record["subject"], GAP)
        yield Pairs(
            prompt=record["prompt"],
            paraphrases=(record["rephrase_prompt"],),
            negatives=negatives,
            relation=relation_of_cloze(cloze),
        )


def _mquake_pairs(groups: list[Record]) -> Iterator[Pairs]:
    for record in groups:
        prompt, *others = record["questions"][:4]
        known = relation_of(record["edit"])
        yield Pairs(prompt=prompt, paraphrases=tuple(others), relation=" / ".join(known[:2]) if known else "")


def _mquake(folder: Path, seed: int = 3) -> list[Record]:
    """Groups of phrasings; a group that shares a phrasing with an earlier one asks its question and is left out."""
    seen: set[str] = set()
    groups = []
    for record in read_records(folder, "paraphrase-mquake"):
        if not seen.intersection(record["questions"]):
            groups.append(record)
            seen.update(record["questions"])
    random.Random(seed).shuffle(groups)  # noqa: S311 (a split, no secret)
    return groups
