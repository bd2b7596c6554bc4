"""Spellings: tokens read as words, and which of them are names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sola_scale.backbone.spelling import LETTER_BITS, Spelling

BYTES = [
    "the",
    "Ġthe",
    "The",
    "ĠThe",
    "Ġwho",
    "Who",
    "Ġwas",
    "ĠMar",
    "ie",
    "ĠCurie",
    "Ġ",
    "1",
    "9",
    "8",
    "?",
    ".",
    "'s",
    "Ċ",
    "âĢĵ",
]
SPELLING = Spelling(BYTES)


def ids(*texts: str) -> list[int]:
    """Numbers of tokens."""
    return [BYTES.index(text) for text in texts]


def read(*texts: str) -> list[tuple[str, bool]]:
    """Words and whether they are names."""
    return [(word.text, word.name) for word in SPELLING.words(ids(*texts))]


def test_tokens_make_up_words():
    """A word begins with a space or after a mark; tokens without either go on with it."""
    assert read("Who", "\u0120was", "\u0120Mar", "ie", "\u0120Curie", "?") == [
        ("who", False),
        ("was", False),
        ("marie", True),
        ("curie", True),
    ]


def test_a_number_is_one_word():
    """Digits that are tokens of their own are one word, with or without a space before, and belong to a name."""
    assert read("\u0120the", "\u0120", "1", "9", "8", "1") == [("the", False), ("1981", True)]
    assert read("1", "9", "8", "1") == [("1981", True)]


def test_numbers_of_the_same_digits_differ():
    """1981 and 1918 hold the same tokens and are different words."""
    one, other = (next(SPELLING.words(ids(*digits))) for digits in ("1981", "1918"))
    assert one.number != other.number
    assert one.letters == other.letters == 0


def test_a_capital_from_its_place_makes_no_name():
    """A frequent word is a name inside a sentence only; a rare one also where it begins one."""
    assert read("The", "\u0120Mar") == [("the", False), ("mar", True)]
    assert read("\u0120was", "\u0120The") == [("was", False), ("the", True)]
    assert read("\u0120was", ".", "\u0120The") == [("was", False), ("the", False)]
    assert read("\u0120was", "\u010a", "The") == [("was", False), ("the", False)]


def test_marks_end_words_and_are_none():
    """Dashes, quotation marks and possessive endings separate words."""
    assert read("\u0120Curie", "'s", "\u0120was") == [("curie", True), ("was", False)]
    assert read("1", "9", "\u00e2\u0122\u0135", "8", "1") == [("19", True), ("81", True)]


def test_capitals_do_not_change_a_word():
    """Equal words have equal numbers, whatever their capitals and the space before them."""
    numbers = {word.number for word in SPELLING.words(ids("The", ".", "\u0120the", ".", "\u0120The"))}
    assert len(numbers) == 1


def test_words_that_are_nearly_one_share_letters():
    """A plural has most pairs of letters of its singular, and another number; another word has few of them."""
    spelling = Spelling(["\u0120constellation", "\u0120constellations", "\u0120hurry"])
    one, plural, other = spelling.words([0, 1, 2])
    assert one.number != plural.number
    assert (one.letters & plural.letters).bit_count() > 0.8 * one.letters.bit_count()
    assert (one.letters & other.letters).bit_count() < 0.5 * other.letters.bit_count()


def test_letters_fit_in_their_bits():
    """However many pairs a word has, they are told in the bits there are for them."""
    (word,) = Spelling(["\u0120abcdefghijklmnopqrstuvwxyzacegikmoqsuwybdfhjlnprtvxz"]).words([0])
    assert 0 < word.letters < 2**LETTER_BITS


def test_rare_tokens_weigh_more():
    """Weight grows with the rank of the small form."""
    assert SPELLING.weight(3) == SPELLING.weight(1) < SPELLING.weight(7)


@given(st.lists(st.integers(0, len(BYTES) + 3), max_size=40))
def test_words_lie_in_order_and_apart(tokens):
    """Whatever the tokens, unknown ones among them, words are not empty, follow one another, and stay inside."""
    stop = 0
    for word in SPELLING.words(tokens):
        assert stop <= word.start < word.stop <= len(tokens)
        assert word.text
        stop = word.stop


@pytest.mark.parametrize("texts", [[], [None, ""], ["\u0120"]])
def test_vocabularies_without_words(texts):
    """A vocabulary of nothing but space reads no word."""
    assert list(Spelling(texts).words(range(len(texts) + 1))) == []


def asked(text: str, line_end: str = "\u010a") -> str:
    """What asks, of a text whose words and marks are tokens each."""
    tokens = re.findall(r" ?\w+|[^\w ]|\n", text.replace(" ", " "))
    written = [token.replace("\n", line_end).replace(" ", "\u0120") for token in tokens]
    common = [
        "\u0120" + word
        for word in ["who", "the", "was", "what", "answer", "in", "assistant", "i", "see", "respond", "where"]
    ]
    vocabulary = [*common, *written]
    spelling = Spelling(vocabulary)
    return "".join(tokens[spelling.asks_from([vocabulary.index(token) for token in written]) :]).strip()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It was active. MacPaint was created by", "MacPaint was created by"),
        ("Category of Bergen\nMacPaint was created by", "MacPaint was created by"),
        ("Who was Curie? The mother of Marie was", "Who was Curie? The mother of Marie was"),
        ("Where was Curie born? It is", "Where was Curie born? It is"),
        ("He left. Where was Curie born? Answer in English.", "Where was Curie born? Answer in English."),
        ("See Bergen.\nWhere was Curie born?\nAssistant:", "Where was Curie born?\nAssistant:"),
        ("The mother of Curie was\nAssistant:", "The mother of Curie was\nAssistant:"),
        ("The mother of Curie was. In 3 words, I think", "The mother of Curie was. In 3 words, I think"),
        ("The lady of Panic! At the Disco was", "The lady of Panic! At the Disco was"),
        ("The mother of Dr. Curie was", "The mother of Dr. Curie was"),
        ("The mother of J. R. Curie was", "The mother of J. R. Curie was"),
        ("Who starred in Darko. A Tale?", "Who starred in Darko. A Tale?"),
        ("who was it. what is that", "who was it. what is that"),
        ("", ""),
    ],
)
def test_the_sentence_that_asks(text, wanted):
    """The last sentence with a name asks, or the last question with one before it; titles, labels and numbers mislead nobody."""
    for line_end in ("\u010a", "\n", "<0x0A>"):
        assert asked(text, line_end) == wanted


@given(st.lists(st.integers(0, len(BYTES) + 3)))
def test_what_asks_is_an_end_of_the_prompt_with_its_last_name(prompt):
    """Any tokens: the cut lies within the prompt, and the last name is never before it."""
    start = SPELLING.asks_from(prompt)
    names = [word.start for word in SPELLING.words(prompt) if word.name]
    assert 0 <= start <= (names[-1] if names else 0)
