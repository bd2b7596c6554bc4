"""What is evaluated: the records of a data set, each an edit to make and wordings of its question that are held back."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from sola_scale.requests import BadRecord, EditRequest, read_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One edit and how it is examined."""

    line: int
    """Where the record stands in its file; what a later run knows it by."""
    request: EditRequest
    """The edit to make; it is told of no paraphrase."""
    reworded: tuple[str, ...]
    """Other wordings of its question, which its training never sees."""


def read_cases(path: Path, *, skip: int = 0, limit: int | None = None) -> Iterator[Case]:
    """Read the records of a data set, of any schema that `sola ingest` reads; records that are none are passed over.

    Args:
        path: the file.
        skip: records to leave out at its beginning.
        limit: most records to read.

    Raises:
        RequestError: the file cannot be read.
    """
    sound = (one for one in read_requests(path) if not isinstance(one, BadRecord))
    for number, request in enumerate(islice(sound, skip, None if limit is None else skip + limit)):
        line = skip + number + 1 if request.line is None else request.line
        yield Case(line=line, request=replace(request, paraphrases=()), reworded=request.paraphrases)
