"""The progress of a long job: a bar on a terminal, a line now and then in a log."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sola_scale.cli.output import err

_LOG_SECONDS = 10.0


class JobProgress:
    """Counts the steps of a job by what came of them, and shows how far it is."""

    def __init__(self, title: str, total: int | None, *, silent: bool = False) -> None:
        """Show ``title`` and progress towards ``total`` steps, on stderr; ``silent`` counts and shows nothing."""
        self.counts: Counter[str] = Counter()
        self._title = title
        self._total = total
        self._silent = silent
        self._terminal = err().is_terminal and not silent
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err(),
            disable=not self._terminal,
        )
        self._task = self._bar.add_task(title, total=total, counts="")
        self._began = self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if not self._terminal and not self._silent:
            self._log()

    def step(self, outcome: str = "done", steps: int = 1) -> None:
        """Count steps that met one outcome."""
        self.counts[outcome] += steps
        self._bar.update(self._task, advance=steps, counts=self._summary())
        if not self._terminal and not self._silent and time.monotonic() - self._logged > _LOG_SECONDS:
            self._log()

    def _log(self) -> None:
        self._logged = time.monotonic()
        of = f"/{self._total}" if self._total is not None else ""
        seconds = self._logged - self._began
        err().print(
            f"{self._title} {sum(self.counts.values())}{of} {self._summary()} ({seconds:.0f} s)".replace(
                "  ", " "
            )
        )

    def _summary(self) -> str:
        """The counts by outcome; nothing where there is but one kind."""
        if set(self.counts) <= {"done"}:
            return ""
        return ", ".join(f"{count} {outcome}" for outcome, count in self.counts.most_common())
