"""The questions asked of GeoNames facts: for each relation five wordings, the first of them the prompt of an edit."""

from typing import Final

WORDINGS: Final[dict[str, tuple[str, ...]]] = {
    "country": (
        "{} is a city in the country of",
        "Question: In which country is {}? Answer:",
        "The country that {} belongs to is",
        "The city of {} is located in the country of",
        "Which country does the city of {} belong to?",
    ),
    "time zone": (
        "The time zone of {} is",
        "Question: Which time zone is {} in? Answer:",
        "The clocks of {} are set to the time zone",
        "The city of {} lies in the time zone",
        "What is the time zone of the city of {}?",
    ),
    "US state": (
        "{} is a city in the U.S. state of",
        "Question: In which U.S. state is {}? Answer:",
        "The U.S. state that {} belongs to is",
        "The city of {} is located in the U.S. state of",
        "Which state of the USA does {} belong to?",
    ),
    "capital": (
        "The capital of {} is",
        "Question: What is the capital of {}? Answer:",
        "{} has as its capital the city of",
        "The capital city of {} is called",
        "Which city is the capital of {}?",
    ),
    "currency": (
        "The currency of {} is the",
        "Question: What is the currency of {}? Answer: the",
        "In {} people pay with the",
        "The money used in {} is called the",
        "Which currency is used in {}?",
    ),
    "calling code": (
        "The international calling code of {} is",
        "Question: What is the international calling code of {}? Answer:",
        "The telephone country code of {} is",
        "Phone numbers in {} begin with the country code",
        "Which calling code do I dial to phone {}?",
    ),
    "internet domain": (
        "The country-code internet domain of {} is",
        "Question: What is the country-code internet domain of {}? Answer:",
        "The top-level domain of {} is",
        "Web addresses in {} end in",
        "Which internet domain belongs to {}?",
    ),
}
"""Relation → wordings; ``{}`` is the subject.

The second spells out that an answer follows, the last is a bare question: an instruction-tuned model asked that without
its chat template may well end its turn at once.
"""
