"""Trials from data files."""

import gzip
import json

import pytest

from sola_scale.analysis.files import read_fitting_pairs, read_trial, split_kamel
from sola_scale.analysis.neighbours import names_relation_of, words_of


def _write(folder, name, records):
    (folder / f"{name}.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode())
    )


def _counterfact(number, subject, near, near_answer):
    return {
        "case_id": number,
        "prompt": f"{subject} was born in",
        "target_new": "Oslo",
        "subject": subject,
        "ground_truth": "Rome",
        "rephrase_prompt": f"The birthplace of {subject} is",
        "locality_prompt": near,
        "locality_ground_truth": near_answer,
    }


@pytest.fixture
def folder(tmp_path):
    records = [
        _counterfact(0, "Ann", "Bob was born in", "Rome"),
        _counterfact(1, "Bob", "Cid was born in", "Rome"),
    ]
    _write(tmp_path, "counterfact-edit", records)
    _write(tmp_path, "counterfact-train", [_counterfact(2, "Dan", "Eve was born in", "Rome")])
    _write(
        tmp_path,
        "zsre-knowedit",
        [
            {
                "subject": "Z",
                "prompt": prompt,
                "target_new": "x",
                "ground_truth": ["y"],
                "rephrase_prompt": "Of what make is Z?",
                "locality": {
                    "Relation_Specificity": [{"prompt": "The colour of Z is", "ground_truth": ["red"]}]
                },
            }
            for prompt in ("Who made Z?", "Z was made by?")
        ],
    )
    kamel = [{"relation": f"P{n % 4}", "question": f"Question {n}?", "subject": str(n)} for n in range(120)]
    _write(tmp_path, "kamel", kamel + kamel[:5])
    _write(
        tmp_path,
        "paraphrase-mquake",
        [
            {"edit": "e", "questions": ["a?", "b?", "c?", "d?"]},
            {"edit": "f", "questions": ["a?", "x?", "y?", "z?"]},
        ],
    )
    return tmp_path


def test_two_edits_of_one_fact_are_both_right(folder):
    """Prompts of zsRE with one subject and one old answer count as one fact."""
    trial = read_trial(folder, crowd=10, unseen=5)
    facts = dict(zip(trial.edits, trial.facts.tolist(), strict=True))
    assert facts["Who made Z?"] == facts["Z was made by?"]
    assert facts["Ann was born in"] != facts["Bob was born in"]


def test_a_neighbour_that_was_edited_itself_is_not_asked(folder):
    """Firing is right for a neighbour whose own fact is in the store, so it is left out of the pool."""
    pool = next(
        pool for pool in read_trial(folder, crowd=10).pools if pool.name.startswith("CounterFact neighbour")
    )
    assert pool.texts == ("Cid was born in",)


def test_a_missing_file_is_an_empty_pool(folder):
    """Without the hallucination set there is no pool of sentences, and the rest goes on."""
    assert "unrelated sentence" not in {pool.name for pool in read_trial(folder, crowd=10).pools}


def test_the_crowd_and_the_strangers_are_disjoint(folder, monkeypatch):
    """No KAMEL question is in both parts, and the split is the same every time."""
    monkeypatch.setattr("sola_scale.analysis.files._BESIDE", 60)
    monkeypatch.setattr("sola_scale.analysis.files._UNSEEN", 20)
    split = split_kamel(folder)
    assert (len(split.crowd), len(split.unseen)) == (60, 20)
    assert len({record["question"] for record in (*split.crowd, *split.unseen)}) == 80
    assert split_kamel(folder) == split


def test_fitting_pairs_hold_nothing_of_the_trial(folder):
    """No text of the trial is among the texts that a calibration is fitted on."""
    pairs = read_fitting_pairs(folder, questions=5, own=50)
    fitted = {text for pair in pairs for text in (pair.prompt, *pair.paraphrases)}
    trial = read_trial(folder, crowd=10, unseen=5)
    assert not fitted & {*trial.prompts, *(text for pool in trial.pools for text in pool.texts)}


def test_groups_that_share_a_phrasing_are_one_question(folder):
    """The second MQuAKE group, which shares a phrasing with the first, is left out."""
    prompts = {pair.prompt for pair in read_fitting_pairs(folder, questions=1, own=0)}
    assert len(prompts & {"a?", "x?"}) == 1


@pytest.mark.parametrize(
    ("neighbour", "same"),
    [
        ("The record label of Ray Guns is", True),
        ("Ray Guns record label", True),
        ("The father of Ray Guns is", False),
        ("The part of of Ray Guns is", False),
        ("Ray Guns recording labels", True),
        ("The label owner of Ray Guns is", False),
    ],
)
def test_a_neighbour_that_names_the_edits_relation_is_none(neighbour, same):
    """A zsRE neighbour whose relation the edit's prompt holds word for word asks what the edit answers."""
    assert names_relation_of("Which was the record label for Ray Guns?", neighbour, "Ray Guns") is same


def test_a_cloze_and_the_question_for_it_say_the_same():
    """Prompts of the same words but for those that ask are one question; one word more makes another."""
    asked = words_of("What is the official language of Laitila?")
    assert words_of("The official language of Laitila is") == asked
    assert words_of("The second official language of Laitila is") != asked
