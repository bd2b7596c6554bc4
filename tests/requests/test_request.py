"""The edit request checks itself."""

import dataclasses

import pytest

from sola_scale.errors import RequestError
from sola_scale.requests import EditRequest
from sola_scale.requests.request import MAX_PARAPHRASES, MAX_TAGS, MAX_TEXT


def test_sequences_become_tuples_without_duplicates() -> None:
    """Paraphrases and tags may be any sequence; they are kept in order, each once."""
    request = EditRequest("p", "t", paraphrases=["a", "b", "a"], tags=["x"])
    assert request.paraphrases == ("a", "b")
    assert request.tags == ("x",)


def test_it_is_frozen_and_slotted() -> None:
    """A request cannot be changed once made."""
    request = EditRequest("p", "t")
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.prompt = "q"  # type: ignore[misc]
    assert not hasattr(request, "__dict__")


def test_the_line_is_not_part_of_what_it_says() -> None:
    """Two requests that differ only in where they were read are equal and hash alike."""
    here, there = EditRequest("p", "t", line=1), EditRequest("p", "t", line=9)
    assert here == there
    assert hash(here) == hash(there)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompt": "", "target": "t"}, "prompt is empty"),
        ({"prompt": " \n\t", "target": "t"}, "prompt is empty"),
        ({"prompt": "p", "target": ""}, "target is empty"),
        ({"prompt": "p", "target": 5}, "target must be text, not int"),
        ({"prompt": None, "target": "t"}, "prompt must be text, not NoneType"),
        ({"prompt": "p" * (MAX_TEXT + 1), "target": "t"}, "65,537 characters"),
        ({"prompt": "p", "target": "\ud83d"}, "unpaired surrogate"),
        ({"prompt": "p", "target": "t", "paraphrases": "one text"}, "paraphrases must be a sequence"),
        ({"prompt": "p", "target": "t", "paraphrases": {"a"}}, "paraphrases must be a sequence"),
        ({"prompt": "p", "target": "t", "paraphrases": ["ok", ""]}, "an entry of paraphrases is empty"),
        ({"prompt": "p", "target": "t", "paraphrases": ["x"] * (MAX_PARAPHRASES + 1)}, "257 entries"),
        ({"prompt": "p", "target": "t", "tags": [3]}, "an entry of tags must be text"),
        ({"prompt": "p", "target": "t", "tags": ["x"] * (MAX_TAGS + 1)}, "65 entries"),
        ({"prompt": "p", "target": "t", "source": ""}, "source is empty"),
        ({"prompt": "p", "target": "t", "source": "s" * 2000}, "source has 2,000 characters"),
    ],
)
def test_a_malformed_request_names_the_field(arguments: dict, said: str) -> None:
    """Whatever is wrong, the error says which field and how."""
    with pytest.raises(RequestError, match=said):
        EditRequest(**arguments)
