"""Times and amounts of memory as typed on a command line."""

import time

import pytest

from sola_scale.cli.quantities import memory, moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", 4096),
        ("256MiB", 256 << 20),
        ("256m", 256 << 20),
        ("1.5 GiB", 3 << 29),
        ("2GB", 2_000_000_000),
        ("10kb", 10_000),
        ("1T", 1 << 40),
    ],
)
def test_amounts_of_memory(text: str, expected: int) -> None:
    """Binary and decimal units, and bare bytes."""
    assert memory(text) == expected


@pytest.mark.parametrize("text", ["", "0", "MiB", "-1G", "12 parsecs", "1e9", "0.1b", "256MiBi"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    """Nonsense, nothing and less than nothing."""
    with pytest.raises(ValueError, match="no amount of memory"):
        memory(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00", 3600),
        ("1970-01-01 01:00:00.5", 3600.5),
        ("1970-01-01T01:00+01:00", 0),
        ("1969-12-31T23:59:59Z", -1),
    ],
)
def test_moments_by_date(text: str, seconds: float) -> None:
    """UTC where no zone is named."""
    assert moment(text) == seconds * 1_000_000_000


def test_a_moment_so_long_ago() -> None:
    """Relative times count back from now."""
    before = time.time_ns()
    assert before <= moment("1.5h") + 5_400_000_000_000 <= time.time_ns()


@pytest.mark.parametrize("text", ["", "yesterday", "7", "2026-13-01", "h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """The error says how a time is written."""
    with pytest.raises(ValueError, match="how long ago"):
        moment(text)
