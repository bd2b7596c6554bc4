"""Slips: how a question is typed in haste: with small letters, without its mark, with a letter or a small word wrong.

A slip is to leave a name known as that name: single letters and numbers stay, and so does how a word begins.
"""

import random
import unicodedata
from collections.abc import Callable

SHARE = 0.2
"""Share of wordings with a slip, of those that may have one."""
_LONG = 6
"""Letters of a word in which one can be wrong and all still know what is meant."""
_KEPT = 1
"""Letters at the beginning of a word that are typed right."""

SMALL = ("the", "a", "an", "of", "in", "for", "to", "at", "on")
"""Words of which one can be missing or wrong."""


class Slips:
    """Makes slips."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._kinds: list[Callable[[str], str]] = [
            str.lower,
            lambda text: text.lower().rstrip("?"),
            lambda text: text.rstrip("?"),
            _without_accents,
            _other_apostrophe,
            *[self._misspell] * 5,
            *[self._omit] * 2,
        ]

    def among(self, texts: list[str]) -> list[str]:
        """Let some of a question's wordings have a slip, never the first or the last: edits are made of these."""
        return [texts[0], *map(self._maybe, texts[1:-1]), *texts[1:][-1:]]

    def _maybe(self, text: str) -> str:
        return self._rng.choice(self._kinds)(text) if self._rng.random() < SHARE else text

    def _misspell(self, text: str) -> str:
        """Drop, double, change or swap a letter of a long word."""
        words = text.split(" ")
        long = [place for place, word in enumerate(words) if len(word) >= _LONG and word.isalpha()]
        if not long:
            return text
        chosen = self._rng.choice(long)
        word = words[chosen]
        at = self._rng.randrange(_KEPT, len(word) - 1)
        before, letter, after = word[:at], word[at], word[at + 1 :]
        words[chosen] = self._rng.choice(
            [
                before + after,
                before + letter + letter + after,
                before + self._rng.choice("aeioulnrst") + after,
                before + after[0] + letter + after[1:],
            ]
        )
        return " ".join(words)

    def _omit(self, text: str) -> str:
        """Drop a small word, or put another one in its place, as who writes in a foreign tongue does."""
        words = text.split(" ")
        small = [place for place, word in enumerate(words) if word in SMALL]
        if not small:
            return text
        words[self._rng.choice(small)] = self._rng.choice(("", *SMALL))
        return " ".join(word for word in words if word)


def _without_accents(text: str) -> str:
    return "".join(
        letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter)
    )


def _other_apostrophe(text: str) -> str:
    return text.replace("'", "\u2019") if "'" in text else text.replace("-", " ")
