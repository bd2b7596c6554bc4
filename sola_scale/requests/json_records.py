"""JSON records: one object a line, or the elements of one big array, neither ever held whole."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from sola_scale.requests.lines import MAX_RECORD, bounded_lines
from sola_scale.requests.request import BadRecord

_CHUNK = 1 << 16
_TOKEN = re.compile(rb'\\.|["{}\[\],]', re.DOTALL)

Parsed = tuple[int, Any]
"""Line number and record."""


def json_lines(stream: io.BufferedReader) -> Iterator[Parsed | BadRecord]:
    """Yield the record of every line that is not blank."""
    for line in bounded_lines(stream):
        if isinstance(line, BadRecord):
            yield line
        elif line.text.strip():
            yield _parse(line.number, line.text)


def json_array(stream: io.BufferedReader) -> Iterator[Parsed | BadRecord]:
    """Yield the elements of one top-level array as they come; a broken one that is still balanced is skipped."""
    splitter = _Splitter()
    while (chunk := stream.read(_CHUNK)) and not splitter.trailing:
        for number, raw in splitter.feed(chunk):
            yield _too_long(number) if raw is None else _parse(number, raw)
    if not splitter.closed:
        yield BadRecord(
            splitter.line, "the array is not closed: the file is cut short, or a record is broken"
        )
    elif splitter.trailing:
        yield BadRecord(
            splitter.line, "the array ends here but the file goes on: a bracket too many, perhaps"
        )


def _too_long(number: int) -> BadRecord:
    return BadRecord(number, f"longer than {MAX_RECORD:,} bytes")


def _parse(number: int, text: str | bytes) -> Parsed | BadRecord:
    try:
        return number, json.loads(text)
    except UnicodeDecodeError as error:
        return BadRecord(number, f"not valid UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return BadRecord(number, f"not valid JSON: {error.msg} at character {error.pos + 1}")
    except (RecursionError, ValueError) as error:
        return BadRecord(number, f"not usable JSON: {error}")


class _Splitter:
    """Cuts the text of a top-level array into the texts of its elements, by brackets and quotes alone."""

    def __init__(self) -> None:
        self.line = 1
        self.closed = False
        self._depth = 0
        self._in_string = False
        self._element = bytearray()
        self._oversize = False
        self._first = 1
        self._carry = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Yield ``(line, text)`` of each element that ends in ``chunk``; the text is None if it was too long."""
        data = self._carry + chunk
        # A backslash and what it escapes must be seen together.
        split = len(data) - 1 if data.endswith(b"\\") else len(data)
        data, self._carry = data[:split], data[split:]
        start = 0
        for token in _TOKEN.finditer(data):
            opened = self._depth > 0
            if self._separates(token.group()):
                yield from self._emit(data[start : token.start()])
                start = token.end()
            elif not opened and self._depth > 0:
                self.line += data.count(b"\n", start, token.start())
                start = token.end()
            if self.closed:
                break
        self._keep(data[start:])

    @property
    def trailing(self) -> bool:
        """Whether something follows the array's end."""
        return self.closed and bool(self._element.strip())

    def _separates(self, token: bytes) -> bool:
        """Follow one token; tell whether an element of the top-level array ends before it."""
        if token == b'"':
            self._in_string = not self._in_string
        elif not self._in_string and token in b"{[":
            self._depth += 1
        elif not self._in_string and token in b"}]":
            self._depth -= 1
            self.closed = self._depth == 0
            return self.closed
        return token == b"," and self._depth == 1 and not self._in_string

    def _keep(self, part: bytes) -> None:
        if not self._oversize:
            self._element += part
        if len(self._element) > MAX_RECORD:
            self._first = self.line
            self.line += self._element.count(b"\n")
            self._element.clear()
            self._oversize = True
        elif self._oversize:
            self.line += part.count(b"\n")

    def _emit(self, last: bytes) -> Iterator[tuple[int, bytes | None]]:
        self._keep(last)
        raw = bytes(self._element)
        leading = len(raw) - len(raw.lstrip())
        first = self.line + raw.count(b"\n", 0, leading)
        if self._oversize:
            yield self._first, None
        elif raw.strip():
            yield first, raw.strip()
        self.line += raw.count(b"\n")
        self._element.clear()
        self._oversize = False
