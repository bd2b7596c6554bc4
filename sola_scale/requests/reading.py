"""A file of edit requests, read as a stream."""

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sola_scale.errors import RequestError
from sola_scale.requests.json_records import json_array, json_lines
from sola_scale.requests.lines import STREAM_ERRORS, open_stream, skip_bom
from sola_scale.requests.request import BadRecord, EditRequest
from sola_scale.requests.schemas import request_from
from sola_scale.requests.tables import csv_rows, parquet_rows

Records = Iterator[tuple[int, Any] | BadRecord]

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")
"""The formats :func:`read_requests` takes; ``json`` is one array of records."""

_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_READERS: dict[str, Callable[[io.BufferedReader], Records]] = {
    "jsonl": json_lines,
    "json": json_array,
    "csv": csv_rows,
    "tsv": partial(csv_rows, delimiter="\t"),
}
_PARQUET = b"PAR1"
_PEEK = 4096


def read_requests(path: str | Path, format: str | None = None) -> Iterator[EditRequest | BadRecord]:  # noqa: A002 - the reader's own word
    """Stream the edit requests of a file; a record that is none comes as a :class:`BadRecord` in its place.

    gzip is unpacked on the way. The schema of each record is seen from its fields: sola-scale's own, CounterFact,
    zsRE, KnowEdit, EasyEdit or WISE (see :mod:`sola_scale.requests.schemas`).

    Args:
        path: the file.
        format: one of :data:`FORMATS`; if not given, seen from the suffix, then from the first bytes.

    Raises:
        RequestError: the file cannot be opened or is of no known format. A table whose header lacks the columns of
            every known schema raises when the first record is asked for.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise RequestError(f"unknown format {format!r}; known are {', '.join(FORMATS)}")
    stream = open_stream(path)
    try:
        skip_bom(stream)
        chosen = format or _BY_SUFFIX.get(_suffix(path)) or _sniffed(stream)
    except STREAM_ERRORS as error:
        stream.close()
        raise RequestError(f"cannot read {path}: {error}") from error
    if chosen == "parquet":
        stream.close()
        return _requests(parquet_rows(path))
    return _streamed(stream, chosen)


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _sniffed(stream: io.BufferedReader) -> str:
    start = stream.peek(_PEEK)[:_PEEK].lstrip()
    if start.startswith(_PARQUET):
        return "parquet"
    if start.startswith(b"["):
        return "json"
    return "jsonl" if start.startswith(b"{") else "csv"


def _streamed(stream: io.BufferedReader, chosen: str) -> Iterator[EditRequest | BadRecord]:
    """Read to the end, or to where the file is damaged: what came before the damage counts."""
    line = 0
    with closing(stream):
        try:
            for request in _requests(_READERS[chosen](stream)):
                line = request.line or line
                yield request
        except STREAM_ERRORS as error:
            yield BadRecord(line + 1, f"the file is damaged from about here on: {error}")


def _requests(records: Records) -> Iterator[EditRequest | BadRecord]:
    for record in records:
        if isinstance(record, BadRecord):
            yield record
            continue
        line, value = record
        try:
            yield request_from(value, line=line)
        except RequestError as error:
            yield BadRecord(line, str(error))
