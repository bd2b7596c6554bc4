"""The questions asked of GeoNames facts: for each relation several wordings, the first of them the prompt of an edit."""

from typing import Final

WORDINGS: Final[dict[str, tuple[str, ...]]] = {
    "country": (
        "{} is a city in the country of",
        "In which country is the city of {}?",
        "The city of {} is located in the country of",
        "Which country does the city of {} belong to?",
        "{} lies in which country?",
    ),
    "time zone": (
        "The time zone of {} is",
        "Which time zone is {} in?",
        "The clocks of {} are set to the time zone",
        "What is the time zone of the city of {}?",
        "{} uses which time zone?",
    ),
    "US state": (
        "{} is a city in the U.S. state of",
        "In which U.S. state is {}?",
        "The city of {} is located in the U.S. state of",
        "Which state of the USA does {} belong to?",
        "{} lies in which U.S. state?",
    ),
    "capital": (
        "The capital of {} is",
        "What is the capital of {}?",
        "The capital city of {} is called",
        "Which city is the capital of {}?",
        "{} has as its capital",
    ),
    "currency": (
        "The currency of {} is the",
        "What is the currency of {}?",
        "In {} people pay with the",
        "Which currency is used in {}?",
        "The money used in {} is called the",
    ),
    "calling code": (
        "The international calling code of {} is",
        "What is the international calling code of {}?",
        "Phone numbers in {} begin with the country code",
        "Which calling code do I dial to phone {}?",
        "The telephone country code of {} is",
    ),
    "internet domain": (
        "The country-code internet domain of {} is",
        "What is the country-code internet domain of {}?",
        "Web addresses in {} end in",
        "Which internet domain belongs to {}?",
        "The top-level domain of {} is",
    ),
}
"""Relation → wordings; ``{}`` is the subject."""
