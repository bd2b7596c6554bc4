"""Tables of records: CSV with its quotes, and Parquet."""

import csv
import io
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from sola_scale.errors import RequestError
from sola_scale.requests.lines import MAX_RECORD, Line, bounded_lines
from sola_scale.requests.request import BadRecord
from sola_scale.requests.schemas import FIELDS, knows

SEPARATOR = "|"
"""What stands between the entries of a list in one CSV field."""

_LISTS = ("paraphrases", "tags", "rephrase_prompts", "paraphrase_prompts")
_BATCH_ROWS = 512

Row = tuple[int, dict[str, Any]]
"""Line (or row) number and record."""


def csv_rows(stream: io.BufferedReader, *, delimiter: str = ",") -> Iterator[Row | BadRecord]:
    """Yield the rows of a CSV file under the names of its header line.

    Raises:
        RequestError: the header lacks the columns of every known schema.
    """
    records = _csv_records(bounded_lines(stream), delimiter)
    names = _header(next(records, None))
    for record in records:
        yield record if isinstance(record, BadRecord) else _named(record, names)


def parquet_rows(path: Path) -> Iterator[Row | BadRecord]:
    """Yield the rows of a Parquet file, a batch at a time, reading only the columns some schema knows.

    Raises:
        RequestError: it is no Parquet file, or lacks the columns of every known schema.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            names = _known(list(file.schema_arrow.names))
            batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=names)
            for row, record in enumerate(
                chain.from_iterable(batch.to_pylist() for batch in batches), start=1
            ):
                yield row, {name: value for name, value in record.items() if value is not None}
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"{path} cannot be read as Parquet: {str(error)[:200]}") from error


def _known(columns: list[str]) -> list[str]:
    if not knows(set(columns)):
        raise RequestError(
            f"no columns 'prompt' and 'target'; the file has {', '.join(columns[:8]) or 'none'}"
        )
    return [name for name in columns if name in FIELDS]


def _header(record: tuple[int, list[str]] | BadRecord | None) -> list[str]:
    if record is None:
        return []
    if isinstance(record, BadRecord):
        raise RequestError(f"line {record.line}, the header: {record.reason}")
    names = [name.strip().lower() for name in record[1]]
    _known(names)
    return names


def _named(record: tuple[int, list[str]], names: list[str]) -> Row | BadRecord:
    number, values = record
    if len(values) != len(names):
        return BadRecord(number, f"{len(values)} fields where the header names {len(names)}")
    return number, {name: _cell(name, value) for name, value in zip(names, values, strict=True) if value}


def _cell(name: str, value: str) -> str | list[str]:
    if name not in _LISTS:
        return value
    return [part.strip() for part in value.split(SEPARATOR) if part.strip()]


def _csv_records(
    lines: Iterator[Line | BadRecord], delimiter: str
) -> Iterator[tuple[int, list[str]] | BadRecord]:
    """Parse one record at a time; after a broken one go on with the line below its first."""
    waiting: deque[Line | BadRecord] = deque()
    while (first := waiting.popleft() if waiting else next(lines, None)) is not None:
        if isinstance(first, BadRecord):
            yield first
            continue
        taken: list[Line | BadRecord] = [first]
        try:
            yield (
                first.number,
                next(csv.reader(_feed(taken, waiting, lines), delimiter=delimiter, strict=True)),
            )
        except (csv.Error, StopIteration) as error:
            waiting.extendleft(reversed(taken[1:]))
            yield BadRecord(first.number, f"not valid CSV: {error or 'a quote is not closed'}")


def _feed(
    taken: list[Line | BadRecord], waiting: deque[Line | BadRecord], lines: Iterator[Line | BadRecord]
) -> Iterator[str]:
    """Lines for one record, remembered in ``taken``; ends at a bad line or when the record grows too long."""
    size = 0
    following = chain(_drain(waiting), lines)
    line: Line | BadRecord = taken[0]
    while isinstance(line, Line) and size <= MAX_RECORD:
        size += len(line.text)
        yield line.text + "\n"
        following_line = next(following, None)
        if following_line is None:
            return
        taken.append(line := following_line)


def _drain(waiting: deque[Line | BadRecord]) -> Iterator[Line | BadRecord]:
    while waiting:
        yield waiting.popleft()
