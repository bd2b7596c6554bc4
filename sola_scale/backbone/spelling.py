"""A spelling: how the tokens of a vocabulary make up words, and which of the words are names.

"1981" is four tokens, each of them common; as a word it is rare, and differs from "1918", which holds the same ones.
Names (words with a capital or a digit) say whom a prompt speaks of; what is left, its frame, says what it asks.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import xxhash

_SPACES = "\u0120\u2581\u010a "
"""How vocabularies write a space (byte-level, sentence-piece, plain) and a line's end (the third)."""
_DASHES = "\u00e2\u0122"
"""How byte-level vocabularies begin the dashes and quotation marks of Unicode."""
_ENDS = frozenset(".!?:")
_STOPS = frozenset(".?")
"""A "!" ends no sentence: it stands within titles as often ("Panic! At the Disco")."""
_LINE_ENDS = ("\u010a", "\n", "<0x0A>")
"""How vocabularies write a line's end."""
_ASKING = frozenset(["who", "whom", "whose", "what", "which", "where", "when", "how", "why"])
_TITLES = frozenset(["prof", "capt", "dr", "mr", "mrs", "st", "vs", "no", "gen", "rev", "hon"])
_SHORT = 4
"""Letters up to which a name before a stop is taken for one that is cut short."""
_COMMON_RANK = 8000
"""A token below this number is a common word: byte-pair vocabularies number their merges by how frequent they are."""
_RANK_UNIT = 256
"""Vocabularies begin with the single bytes; what follows them first is the most frequent."""
LETTER_BITS = 40
"""Bits that tell the pairs of letters of a word: most words have fewer than fifteen pairs."""
_WORDS_KEPT = 1 << 16
"""Words whose letters are remembered."""


class Word(NamedTuple):
    """A word of a prompt."""

    start: int
    """Place of its first token."""
    stop: int
    """Place after its last."""
    text: str
    """Its letters, small, as the vocabulary writes them."""
    name: bool
    """Whether it belongs to a name: it has a capital that does not come from its place, or a digit."""

    @property
    def number(self) -> int:
        """32-bit hash, equal for equal words."""
        return xxhash.xxh32_intdigest(self.text.encode())

    @property
    def letters(self) -> int:
        """Bits of its pairs of letters, most of which "Sofia" and "Sofiah" share; none of a number: 1981 is not nearly 1918."""
        return 0 if any(letter.isdigit() for letter in self.text) else _letter_pairs(self.text)


class Spelling:
    """Reads tokens as words."""

    def __init__(self, texts: Sequence[str | None]) -> None:
        """``texts``: every token as the tokenizer's vocabulary writes it."""
        self._texts = [text or "" for text in texts]
        self._bare = [text.lstrip(_SPACES) for text in self._texts]
        self._rank: dict[str, int] = {}
        for number, (text, bare) in enumerate(zip(self._texts, self._bare, strict=True)):
            if text != bare:
                self._rank.setdefault(bare, number)

    @staticmethod
    def of(tokenizer: Any) -> "Spelling":
        """Of a transformers tokenizer."""
        return Spelling(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))

    def words(self, ids: Sequence[int]) -> Iterator[Word]:
        """Read the words; marks, and tokens that the vocabulary does not know, end one and are none."""
        start, parts, opens = 0, "", True
        for place, token in enumerate(ids):
            text, bare = (self._texts[token], self._bare[token]) if token < len(self._texts) else ("", "")
            solid = _is_solid(bare)
            if parts and not (solid and text == bare):
                yield Word(start, place, parts.lower(), self._is_name(parts, place - start, opens=opens))
                parts, opens = "", False
            if solid:
                start, parts = (start, parts + bare) if parts else (place, bare)
            elif bare or text:
                opens = opens or bare in _ENDS or "\u010a" in text
        if parts:
            yield Word(start, len(ids), parts.lower(), self._is_name(parts, len(ids) - start, opens=opens))

    def asks_from(self, ids: Sequence[int], words: Sequence[Word] | None = None) -> int:
        """Where the sentence begins that asks; what stands before it is context.

        That is the last sentence with a name in it, or, if it stands before that one, the last question with one: "Where was
        Ann Lee born? Answer in English." asks of her. ``words`` are those of ``ids``, if they are at hand.
        """
        words = list(self.words(ids)) if words is None else words
        named = [word.start for word in words if word.name and not self._is_label(word, ids)]
        start, asks = 0, 0
        question: int | None = None
        for stop, asking in [*self._sentence_ends(ids, words), (len(ids), False)]:
            if any(start <= place < stop for place in named):
                asks = start
                question = start if asking else question
            start = stop
        return asks if question is None else question

    def _sentence_ends(self, ids: Sequence[int], words: Sequence[Word]) -> Iterator[tuple[int, bool]]:
        """Where sentences end, and whether with a question mark."""
        before, firsts = {word.stop: word for word in words}, {word.start: word for word in words}
        opening: Word | None = None
        for place, token in enumerate(ids[:-1]):
            opening = opening or firsts.get(place)
            mark = self._text(token)[-1:]
            following = self._text(ids[place + 1])
            line = any(end in self._text(token) for end in _LINE_ENDS)
            spaced = following != "" and (following[0] in _SPACES or following in _LINE_ENDS)
            # "Dr. No", "J. R. R. Tolkien": what is cut short ends no sentence; "Who starred in S. Darko. A Tale?" asks on
            open_yet = mark == "." and (_is_cut(before.get(place)) or _is_asking(opening))
            if line or (mark in _STOPS and spaced and not open_yet):
                yield place + 1, mark == "?"
                opening = None

    def _is_label(self, word: Word, ids: Sequence[int]) -> bool:
        """Whether a word looks like a name and is none: "Assistant:", "I", a number by itself."""
        labels = word.stop < len(ids) and self._text(ids[word.stop]).startswith(":")
        return labels or word.text == "i" or word.text.isdigit()

    def _text(self, token: int) -> str:
        return self._texts[token] if token < len(self._texts) else ""

    def weight(self, token: int) -> float:
        """How rare a token is: the logarithm of its rank in the vocabulary."""
        rank = self._rank.get(self._bare[token].lower(), token) if token < len(self._bare) else 0
        return math.log1p(rank / _RANK_UNIT)

    def _is_name(self, letters: str, tokens: int, *, opens: bool) -> bool:
        if any(letter.isdigit() for letter in letters):
            return True
        if not letters[0].isupper():
            return False
        # "Who" at the beginning of a sentence is no name: its small form is the more frequent one
        rank = self._rank.get(letters.lower(), _COMMON_RANK)
        from_place = opens and tokens == 1 and rank < min(_COMMON_RANK, self._rank.get(letters, _COMMON_RANK))
        return not from_place


@lru_cache(_WORDS_KEPT)
def _letter_pairs(text: str) -> int:
    bits = 0
    for pair in pairwise(f"^{text}$"):
        bits |= 1 << xxhash.xxh32_intdigest("".join(pair).encode()) % LETTER_BITS
    return bits


def _is_cut(word: Word | None) -> bool:
    if word is None or not word.text.isalpha():
        return False
    return len(word.text) == 1 or (word.name and len(word.text) <= _SHORT) or word.text in _TITLES


def _is_asking(word: Word | None) -> bool:
    return word is not None and word.text in _ASKING


def _is_solid(bare: str) -> bool:
    return bool(bare) and (bare[0].isalnum() or not bare[0].isascii()) and not bare.startswith(_DASHES)
