"""Every public schema of editing data becomes the same kind of request."""

import pytest

from sola_scale.errors import RequestError
from sola_scale.requests import EditRequest, request_from

ROME = {
    "case_id": 0,
    "pararel_idx": 2796,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Danielle Darrieux",
    },
    "paraphrase_prompts": [
        "Shayna does this and Yossel goes still. Danielle Darrieux, a native",
        "Danielle spoke",
    ],
    "neighborhood_prompts": ["The mother tongue of Léon Blum is"],
}
RECIPE = {
    "case_id": 7,
    "prompt": "The mother tongue of Danielle Darrieux is",
    "target_new": "English",
    "subject": "Danielle Darrieux",
    "ground_truth": "French",
    "rephrase_prompt": "Where Danielle Darrieux is from, people speak the language of",
    "locality_prompt": "Michel Rocard is a native speaker of",
    "locality_ground_truth": "French",
}
MEND = {
    "subject": "Watts Humphrey",
    "src": "What university did Watts Humphrey attend?",
    "pred": "Trinity College",
    "rephrase": "What university did Watts Humphrey take part in?",
    "alt": "University of Michigan",
    "answers": ["Illinois Institute of Technology"],
    "loc": "nq question: who played desmond doss father in hacksaw ridge",
    "loc_ans": "Hugo Weaving",
    "cond": "Trinity College >> University of Michigan || What university did Watts Humphrey attend?",
}
KNOWEDIT = {
    "subject": "Epaspidoceras",
    "target_new": "Noctuidae",
    "prompt": "Which family does Epaspidoceras belong to?",
    "ground_truth": ["Aspidoceratidae"],
    "rephrase_prompt": "What family are Epaspidoceras?",
    "locality": {
        "Relation_Specificity": [{"prompt": "The taxon rank of Epaspidoceras is", "ground_truth": ["genus"]}]
    },
    "portability": {"Reasoning": []},
}
WIKIBIO = {
    "text": "This is a Wikipedia passage about x.",
    "labels": "She won.",
    "concept": "x",
    "locality": {},
}
WISE = {
    "prompt": "This is a Wikipedia passage about carole gist.",
    "target_new": "She was also the first contestant from Michigan to win Miss USA.",
    "subject": "carole gist",
    "locality_prompt": "Description Map of South America.",
    "locality_ground_truth": "l print or plan?",
}


@pytest.mark.parametrize(
    ("record", "request_"),
    [
        ({"prompt": "p", "target": "t"}, EditRequest("p", "t")),
        (
            {
                "prompt": "p",
                "target": "t",
                "paraphrases": ["q"],
                "tags": ["a", "b"],
                "source": "s",
                "extra": 1,
            },
            EditRequest("p", "t", paraphrases=("q",), tags=("a", "b"), source="s"),
        ),
        (
            ROME,
            EditRequest(
                "The mother tongue of Danielle Darrieux is",
                "English",
                paraphrases=tuple(ROME["paraphrase_prompts"]),
                source="case 0",
            ),
        ),
        (
            RECIPE,
            EditRequest(
                RECIPE["prompt"], "English", paraphrases=(RECIPE["rephrase_prompt"],), source="case 7"
            ),
        ),
        (MEND, EditRequest(MEND["src"], MEND["alt"], paraphrases=(MEND["rephrase"],))),
        (KNOWEDIT, EditRequest(KNOWEDIT["prompt"], "Noctuidae", paraphrases=(KNOWEDIT["rephrase_prompt"],))),
        (WIKIBIO, EditRequest(WIKIBIO["text"], "She won.")),
        (WISE, EditRequest(WISE["prompt"], WISE["target_new"])),
    ],
    ids=["bare", "own", "rome", "recipe", "mend", "knowedit", "wikibio", "wise"],
)
def test_each_schema_is_recognised_by_its_fields(record: dict, request_: EditRequest) -> None:
    """A record of any known schema gives prompt, target, paraphrases and source."""
    assert request_from(record) == request_


def test_a_paraphrase_that_repeats_the_prompt_is_left_out() -> None:
    """A wording equal to the prompt says nothing new, a blank one nothing at all."""
    request = request_from({"prompt": "p", "target": "t", "paraphrases": ["p", "q", "", "q"]})
    assert request.paraphrases == ("q",)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ([1, 2], "not a list"),
        ("prompt", "not a text"),
        (None, "not null"),
        (3, "not int"),
        ({}, "no fields at all"),
        ({"target": "t", "b": 1}, "no field 'prompt'; the record has target, b"),
        ({"prompt": "p"}, "no field 'target'"),
        ({"prompt": "p", "target": None}, "no field 'target'"),
        ({"prompt": ["p"], "target": "t"}, "prompt must be text, not list"),
        ({"prompt": "p", "target": "t", "paraphrases": {"a": 1}}, "paraphrases must be a list of texts"),
        ({"prompt": "p", "target": "t", "tags": [1]}, "tags must be a list of texts"),
        ({"prompt": "p", "target": "t", "source": 5}, "source must be text, not int"),
        ({"requested_rewrite": {"prompt": "{}"}}, "requested_rewrite must hold"),
        ({"requested_rewrite": "x"}, "requested_rewrite must hold"),
        (
            {"requested_rewrite": {"prompt": "{}", "subject": 3, "target_new": {"str": "x"}}},
            "requested_rewrite must",
        ),
    ],
)
def test_a_record_of_no_schema_says_what_is_missing(record: object, said: str) -> None:
    """The error tells the file's author which field is missing or of the wrong kind."""
    with pytest.raises(RequestError, match=said):
        request_from(record)
