"""Slips: how a question is typed in haste, or a name written by ear or in another language.

A slip is to leave a name known as that name: single letters and numbers stay, and so does how a word begins, unless the
name has another form (Catherine, Katharina), which `variants.txt` says.
"""

import random
import re
import unicodedata
from collections.abc import Callable

from calibration_subjects import HERE, read_sections

SHARE = 0.25
"""Share of wordings with a slip, of those that may have one."""
_LONG = 5
"""Letters of a word in which one can be wrong and all still know what is meant."""
_KEPT = 1
"""Letters at the beginning of a word that are typed right."""
_IN_NAMES = 0.6
"""Share of misspelt words that are of a name, if there is a long one."""
_TWICE = 0.25
"""Share of misspelt words with a second letter wrong."""
_WORD = re.compile(r"[^\W\d_]+")

SMALL = ("the", "a", "an", "of", "in", "for", "to", "at", "on")
"""Words of which one can be missing or wrong."""
_BY_EAR = (
    *(("ph", "f"), ("ck", "k"), ("th", "t"), ("ei", "ie"), ("ie", "ei"), ("y", "i"), ("i", "y"), ("c", "k")),
    *(("k", "c"), ("z", "s"), ("w", "v"), ("v", "w"), ("oo", "u"), ("ou", "u"), ("u", "oo"), ("ae", "e")),
    *(("ll", "l"), ("ss", "s"), ("nn", "n"), ("tt", "t"), ("rr", "r"), ("oe", "o"), ("qu", "k"), ("x", "ks")),
    *(
        ("sch", "sh"),
        ("ch", "tch"),
        ("dj", "j"),
        ("dt", "t"),
        ("gh", "g"),
        ("rh", "r"),
        ("ea", "ee"),
        ("e", "i"),
    ),
)
"""Letters, and others that sound like them."""


class Slips:
    """Makes slips."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.variants = _read_variants()
        self._kinds: list[Callable[[str], str]] = [
            str.lower,
            lambda text: text.lower().rstrip("?"),
            lambda text: text.rstrip("?"),
            _without_accents,
            _other_apostrophe,
            *[self._misspell] * 6,
            *[self._write_by_ear] * 2,
            *[self._rename] * 3,
            *[self._omit] * 2,
        ]

    def among(self, texts: list[str]) -> list[str]:
        """Let some of a question's wordings have a slip, never the first or the last: edits are made of these."""
        return [texts[0], *map(self._maybe, texts[1:-1]), *texts[1:][-1:]]

    def _maybe(self, text: str) -> str:
        return self._rng.choice(self._kinds)(text) if self._rng.random() < SHARE else text

    def _misspell(self, text: str) -> str:
        """Get a letter or two of a long word wrong."""
        found = self._long_word(text)
        if not found:
            return text
        word = self._mistype(found[0])
        if self._rng.random() < _TWICE:
            word = self._mistype(word)
        return text[: found.start()] + word + text[found.end() :]

    def _mistype(self, word: str) -> str:
        """Drop, double, change or swap a letter."""
        at = self._rng.randrange(_KEPT, len(word) - 1)
        before, letter, after = word[:at], word[at], word[at + 1 :]
        return self._rng.choice(
            [
                before + after,
                before + letter + letter + after,
                before + self._rng.choice("aeioulnrst") + after,
                before + after[0] + letter + after[1:],
            ]
        )

    def _write_by_ear(self, text: str) -> str:
        """Write a sound of a long word in other letters."""
        found = self._long_word(text)
        if not found:
            return text
        start = found.start() + _KEPT
        heard = [pair for pair in _BY_EAR if pair[0] in text[start : found.end()]]
        if not heard:
            return self._misspell(text)
        old, new = self._rng.choice(heard)
        return text[:start] + text[start : found.end()].replace(old, new, 1) + text[found.end() :]

    def _long_word(self, text: str) -> re.Match[str] | None:
        long = [found for found in _WORD.finditer(text) if len(found[0]) >= _LONG]
        names = [found for found in long if found.start() and found[0][0].isupper()]
        if names and self._rng.random() < _IN_NAMES:
            return self._rng.choice(names)
        return self._rng.choice(long) if long else None

    def _rename(self, text: str) -> str:
        """Put another form of a name in its place, if one of the text has any."""
        words = text.split(" ")
        known = [place for place, word in enumerate(words) if word in self.variants]
        if not known:
            return self._misspell(text)
        place = self._rng.choice(known)
        words[place] = self._rng.choice(self.variants[words[place]])
        return " ".join(words)

    def _omit(self, text: str) -> str:
        """Drop a small word, or put another one in its place, as who writes in a foreign tongue does."""
        words = text.split(" ")
        small = [place for place, word in enumerate(words) if word in SMALL]
        if not small:
            return text
        words[self._rng.choice(small)] = self._rng.choice(("", *SMALL))
        return " ".join(word for word in words if word)


def _read_variants() -> dict[str, list[str]]:
    """Word of a name → its other forms."""
    variants: dict[str, list[str]] = {}
    for line in read_sections(HERE / "variants.txt")[""]:
        forms = [form.strip() for form in line.split("|")]
        for form in forms:
            variants.setdefault(form, []).extend(other for other in forms if other != form)
    return variants


def _without_accents(text: str) -> str:
    return "".join(
        letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter)
    )


def _other_apostrophe(text: str) -> str:
    return text.replace("'", "\u2019") if "'" in text else text.replace("-", " ")
