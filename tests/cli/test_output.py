"""Small helpers of the output."""

import io
import itertools
import json

import pytest
from rich.console import Console

from sola_scale.cli import output, progress
from sola_scale.cli.progress import JobProgress


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_have_a_fitting_unit(count: int, shown: str) -> None:
    """Bytes are shown in the largest unit that leaves a number of at least one."""
    assert output.size(count) == shown


def test_one_line_shortens_and_flattens() -> None:
    """Line breaks become spaces, and what is too long ends in an ellipsis."""
    assert output.one_line("a\n  b") == "a b"
    assert output.one_line("x" * 100, 10) == "x" * 9 + "…"


def test_emit_writes_one_object_a_line_whatever_the_width(capsys: pytest.CaptureFixture) -> None:
    """A long text is not wrapped, and markup in it is left alone."""
    output.emit({"text": "[bold]" + "word " * 100})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["text"].startswith("[bold]word")


def test_progress_in_a_log_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal, progress comes as lines, some time apart, the last one with the total."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=200)
    monkeypatch.setattr(progress, "err", lambda: console)
    clock = itertools.count(step=6.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with JobProgress("working", 4) as job:
        for outcome in ("written", "written", "failed", "written"):
            job.step(outcome)
    lines = buffer.getvalue().splitlines()
    assert 2 <= len(lines) <= 4
    assert lines[-1].startswith("working 4/4 3 written, 1 failed")
    assert job.counts == {"written": 3, "failed": 1}


def test_silent_progress_only_counts(capsys: pytest.CaptureFixture) -> None:
    """With --json nothing but JSON is printed anywhere."""
    with JobProgress("working", None, silent=True) as job:
        job.step()
    assert job.counts == {"done": 1}
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
