"""Bytes to lines: a stream of bounded, decoded, numbered lines, whatever the file holds."""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sola_scale.errors import RequestError
from sola_scale.requests.request import BadRecord

MAX_RECORD = 1 << 20
"""Most bytes one record may take; a longer one is skipped without being held in memory."""

STREAM_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error, OSError)
"""What reading on from a damaged or vanished file raises."""

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a text file."""

    number: int
    """Counted from 1."""
    text: str
    """Without its line ending."""


def open_stream(path: Path) -> io.BufferedReader:
    """Open a file for reading, unpacking gzip (seen from its first bytes, not its name) on the way.

    Raises:
        RequestError: there is no such file, it may not be read, or it is UTF-16.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    if stream.peek(2)[:2] == _GZIP:
        return io.BufferedReader(gzip.GzipFile(fileobj=stream))
    if stream.peek(2)[:2] in _UTF16:
        stream.close()
        raise RequestError(f"{path} is UTF-16; save it as UTF-8")
    return stream


def skip_bom(stream: io.BufferedReader) -> None:
    """Step over the byte order mark that some editors put in front of UTF-8."""
    if stream.peek(len(_BOM))[: len(_BOM)] == _BOM:
        stream.read(len(_BOM))


def bounded_lines(stream: io.BufferedReader, limit: int = MAX_RECORD) -> Iterator[Line | BadRecord]:
    """Yield the lines that are not blank; one that is too long or no UTF-8 becomes a bad record, the rest goes on."""
    number = 0
    while raw := stream.readline(limit + 1):
        number += 1
        if len(raw) > limit and not raw.endswith(b"\n"):
            _skip_rest(stream)
            yield BadRecord(number, f"longer than {limit:,} bytes")
        elif stripped := raw.rstrip(b"\r\n"):
            yield _decoded(number, stripped)


def _skip_rest(stream: io.BufferedReader) -> None:
    while (part := stream.readline(_CHUNK)) and not part.endswith(b"\n"):
        pass


def _decoded(number: int, raw: bytes) -> Line | BadRecord:
    try:
        return Line(number, raw.decode())
    except UnicodeDecodeError as error:
        return BadRecord(number, f"not valid UTF-8 at byte {error.start}")
