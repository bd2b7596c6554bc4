"""What is typed for a moment or an amount of memory, as numbers."""

import re
import time
from datetime import UTC, datetime

_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.IGNORECASE)


def moment(text: str) -> int:
    """Nanoseconds since the epoch: a date or date and time (UTC unless it names a zone), or how long ago, as in 36h.

    Raises:
        ValueError: it is neither.
    """
    if ago := _AGO.fullmatch(text.strip()):
        return time.time_ns() - round(float(ago[1]) * _SECONDS[ago[2].lower()] * 1e9)
    try:
        named = datetime.fromisoformat(text.strip())
    except ValueError as error:
        message = (
            f"{text!r} is no time: write 2026-05-03, 2026-05-03T14:30, or how long ago, such as 36h or 7d"
        )
        raise ValueError(message) from error
    since = (named if named.tzinfo else named.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def memory(text: str) -> int:
    """Bytes: 256MiB, 1.5G, 4096. ``KB`` and the like count in thousands, ``K`` and ``KiB`` in 1,024s.

    Raises:
        ValueError: it is no amount of memory, or none at all.
    """
    found = _SIZE.fullmatch(text.strip())
    count = 0
    if found:
        base = 1000 if found[2] and found[3].lower() == "b" else 1024
        count = int(float(found[1]) * base ** _UNITS[found[2].lower()])
    if count < 1:
        raise ValueError(f"{text!r} is no amount of memory: write 256MiB, 2GiB or a number of bytes")
    return count
