"""One thing a user wants a model to say: the edit request, and the record that could not become one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sola_scale.errors import RequestError

MAX_TEXT = 65_536
MAX_PARAPHRASES = 256
MAX_TAGS = 64
MAX_LABEL = 1_024


@dataclass(frozen=True, slots=True)
class EditRequest:
    """Make the model answer ``prompt`` with ``target``.

    Raises:
        RequestError: a text is empty, too long, of the wrong type or no valid Unicode; the message names the field.
    """

    prompt: str
    """What the model is asked, or the text it shall continue."""
    target: str
    """What it shall answer."""
    paraphrases: tuple[str, ...] = field(default=(), kw_only=True)
    """Other wordings of the prompt that shall meet the same answer; any sequence of strings."""
    tags: tuple[str, ...] = field(default=(), kw_only=True)
    """Labels to find the edit by; any sequence of strings."""
    source: str | None = field(default=None, kw_only=True)
    """Where the fact comes from, in the user's words."""
    line: int | None = field(default=None, kw_only=True, compare=False, repr=False)
    """Where a reader found the request in its file; not part of what the request says."""

    def __post_init__(self) -> None:
        """Check every field and turn the sequences into tuples."""
        _check_text("prompt", self.prompt, MAX_TEXT)
        _check_text("target", self.target, MAX_TEXT)
        object.__setattr__(
            self, "paraphrases", _texts("paraphrases", self.paraphrases, MAX_PARAPHRASES, MAX_TEXT)
        )
        object.__setattr__(self, "tags", _texts("tags", self.tags, MAX_TAGS, MAX_LABEL))
        if self.source is not None:
            _check_text("source", self.source, MAX_LABEL)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record of a file that is no edit request, and why; the records after it are read all the same."""

    line: int
    """Line of the file the record begins on, from 1; in Parquet, its row."""
    reason: str
    """What is wrong with it, in a sentence for the file's author."""


def _check_text(name: str, value: object, limit: int) -> None:
    if not isinstance(value, str):
        raise RequestError(f"{name} must be text, not {type(value).__name__}")
    if not value.strip():
        raise RequestError(f"{name} is empty")
    if len(value) > limit:
        raise RequestError(f"{name} has {len(value):,} characters; the limit is {limit:,}")
    # JSON may carry half of a surrogate pair: no tokenizer and no store could take it.
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise RequestError(f"{name} is not valid Unicode: it holds an unpaired surrogate")


def _texts(name: str, values: Sequence[str], limit: int, text_limit: int) -> tuple[str, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise RequestError(f"{name} must be a sequence of texts, not {type(values).__name__}")
    if len(values) > limit:
        raise RequestError(f"{name} has {len(values):,} entries; the limit is {limit:,}")
    for value in values:
        _check_text(f"an entry of {name}", value, text_limit)
    return tuple(dict.fromkeys(values))
