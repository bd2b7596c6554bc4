"""Calibration pairs: questions, their paraphrases, and what must not be taken for them."""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TextIO

from sola_scale.errors import CalibrationError

KINDS = ("same-subject", "same-relation", "unrelated")
MAX_LINE = 1 << 20
"""Characters read of one line: prompts are short, a longer line is another kind of file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """A prompt that asks something else."""

    prompt: str
    """Its text."""
    kind: str
    """``same-subject`` (other relation), ``same-relation`` (other subject), ``unrelated``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """One question: a prompt, other ways to ask it, and near misses."""

    prompt: str
    """The prompt an edit would be made for."""
    paraphrases: tuple[str, ...] = ()
    """Prompts that must fire that edit."""
    negatives: tuple[Negative, ...] = ()
    """Prompts that must not."""
    relation: str = ""
    """What is asked, whoever the subject, by any name; questions of one relation are judged by scorers that have not seen
    it. If it is "kind / relation", encoders are taught to tell it from the others of its kind. Empty if it is not known."""


def read_pairs(path: Path | str) -> list[Pairs]:
    """Read a JSONL file, gzipped or not: ``{"prompt", "paraphrases": [...], "negatives": [{"prompt", "kind"}]}``.

    Raises:
        CalibrationError: a line is not such a record; the text names it. Or there is no paraphrase in the whole file.
    """
    path = Path(path)
    with _open(path) as lines:
        pairs = list(_parse(lines, str(path)))
    if not any(pair.paraphrases for pair in pairs):
        raise CalibrationError(f"{path} holds no paraphrase: there is nothing to calibrate with")
    return pairs


def default_pairs() -> list[Pairs]:
    """The pairs that ship with the package, written by ``scripts/make_calibration_pairs.py``."""
    with resources.as_file(resources.files("sola_scale.keys") / "data" / "pairs.jsonl.gz") as path:
        return read_pairs(path)


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _parse(lines: Iterable[str], name: str) -> Iterator[Pairs]:
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE:
            raise CalibrationError(f"{name}, line {number}: longer than {MAX_LINE} characters")
        if not line.strip():
            continue
        try:
            yield _record(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(
                f"{name}, line {number}: {error!r}; see docs/routing.md for the format"
            ) from error


def _record(raw: dict[str, Any]) -> Pairs:
    negatives = tuple(
        Negative(prompt=_text(entry["prompt"]), kind=_kind(entry)) for entry in raw.get("negatives", [])
    )
    return Pairs(
        prompt=_text(raw["prompt"]),
        paraphrases=tuple(_text(text) for text in raw.get("paraphrases", [])),
        negatives=negatives,
        relation=str(raw.get("relation", "")),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a prompt must be a text, not {value!r}")
    return value


def _kind(entry: dict[str, Any]) -> str:
    kind = str(entry.get("kind", "unrelated"))
    if kind not in KINDS:
        raise ValueError(f"the kind of a negative is one of {', '.join(KINDS)}, not {kind!r}")
    return kind
