"""A trial from a folder of public editing data: CounterFact, zsRE (KnowEdit), KAMEL, WISE hallucination."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from sola_scale.analysis.trial import NOBODY, Pool, Trial

Record = dict[str, Any]


def read_records(folder: Path, name: str) -> list[Record]:
    """Read ``name.jsonl.gz``; an absent file is an empty set."""
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_trial(folder: Path, *, crowd: int, edits: int = 3000, unseen: int = 4000, seed: int = 5) -> Trial:
    """Make the trial: edits of CounterFact and zsRE among a crowd of KAMEL edits.

    Args:
        folder: where the data lies; see ``docs/routing.md`` for the files.
        crowd: KAMEL edits beside the tested ones.
        edits: CounterFact edits tested.
        unseen: KAMEL questions asked whose edit is not in the store.
        seed: of the shuffle that splits KAMEL.
    """
    builder = _Builder()
    for record in read_records(folder, "counterfact-edit")[:edits]:
        builder.counterfact(record)
    for record in read_records(folder, "zsre-knowedit"):
        builder.zsre(record)
    beside, strangers = split_kamel(folder, crowd, unseen, seed)
    builder.ask("KAMEL question not in the store", strangers)
    builder.ask("unrelated sentence", _sentences(folder))
    return builder.trial(tuple(beside))


def split_kamel(folder: Path, crowd: int, unseen: int, seed: int) -> tuple[list[str], list[str]]:
    """Questions of KAMEL, shuffled: the crowd, and as many others of the same templates as ``unseen``."""
    questions = list(dict.fromkeys(record["question"] for record in read_records(folder, "kamel")))
    random.Random(seed).shuffle(questions)
    return questions[:crowd], questions[-unseen:] if unseen else []


def _sentences(folder: Path, limit: int = 500) -> list[str]:
    """First sentences of the passages and of the web texts of the hallucination set."""
    texts: list[str] = []
    for record in read_records(folder, "hallucination-wise")[:limit]:
        texts += [record["prompt"].split(". ")[0][:120], record["locality_prompt"].split(". ")[0][:120]]
    return texts


class _Builder:
    """Collects edits, facts and pools."""

    _SPECS = {
        "an edit's own prompt": ("right", 1.0),
        "CounterFact paraphrase": ("right", 0.90),
        "zsRE paraphrase": ("right", 0.93),
        "KAMEL question not in the store": ("silent", 0.001),
        "CounterFact neighbour (other subject)": ("silent", 0.02),
        "zsRE neighbour (other relation)": ("silent", 0.01),
        "unrelated sentence": ("silent", 0.001),
    }

    def __init__(self) -> None:
        self._edits: dict[str, int] = {}
        self._facts: dict[tuple[str, str], int] = {}
        self._asked: dict[str, list[tuple[str, int]]] = {name: [] for name in self._SPECS}
        self._neighbours: list[tuple[str, str, str]] = []

    def counterfact(self, record: Record) -> None:
        fact = self._edit(record["prompt"], record["subject"], record["ground_truth"])
        self._asked["CounterFact paraphrase"].append((record["rephrase_prompt"], fact))
        name = "CounterFact neighbour (other subject)"
        self._neighbours.append((name, record["locality_prompt"], record["locality_ground_truth"]))

    def zsre(self, record: Record) -> None:
        fact = self._edit(record["prompt"], record["subject"], _first(record["ground_truth"]))
        self._asked["zsRE paraphrase"].append((record["rephrase_prompt"], fact))
        for entry in record["locality"].get("Relation_Specificity", []):
            answer = _first(entry["ground_truth"])
            self._neighbours.append(("zsRE neighbour (other relation)", entry["prompt"], answer))

    def ask(self, name: str, texts: list[str]) -> None:
        self._asked[name] += [(text, NOBODY) for text in texts]

    def trial(self, crowd: tuple[str, ...]) -> Trial:
        for name, text, answer in self._neighbours:
            # a neighbour whose own fact was edited as well is no neighbour: to fire that edit is right
            if not any(subject in text for subject in self._subjects(answer)):
                self._asked[name].append((text, NOBODY))
        pools = [
            Pool(
                name=name,
                texts=tuple(text for text, _ in self._asked[name]),
                facts=np.array([fact for _, fact in self._asked[name]], dtype=np.int64),
                wanted=wanted,
                target=target,
            )
            for name, (wanted, target) in self._SPECS.items()
            if self._asked[name]
        ]
        facts = np.array(list(self._edits.values()), dtype=np.int64)
        return Trial(edits=tuple(self._edits), facts=facts, crowd=crowd, pools=tuple(pools))

    def _edit(self, prompt: str, subject: str, answer: str) -> int:
        # subject and old answer name the fact: the sets do not give the relation
        fact = self._facts.setdefault((subject, answer), len(self._facts))
        if prompt not in self._edits:
            self._edits[prompt] = fact
            self._asked["an edit's own prompt"].append((prompt, fact))
        return fact

    def _subjects(self, answer: str) -> list[str]:
        if not hasattr(self, "_by_answer"):
            self._by_answer: dict[str, list[str]] = {}
            for subject, known in self._facts:
                self._by_answer.setdefault(known, []).append(subject)
        return self._by_answer.get(answer, [])


def _first(value: Any) -> str:
    return str(value[0]) if isinstance(value, list) else str(value)
