"""What processes that serve a store say of themselves: one small file each, in a folder beside the store's file."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from sola_scale.histogram import Histogram, Latencies
from sola_scale.lora.occupancy import PagerStats

FOLDER = "serving"
"""Name of the folder inside the store's own."""

_EVERY_SECONDS = 10.0
_KEPT = 8
_LONGEST = 1 << 16


class ServingReport(msgspec.Struct, frozen=True, kw_only=True):
    """The slots and latencies of one process; numbers only, nothing of any prompt."""

    host: str
    """Where it runs."""
    pid: int
    """Its process id."""
    at: int
    """When it said so, nanoseconds since the epoch."""
    slots: PagerStats
    """What is resident on the device, and what came and went; the times to bring adapters in."""
    routing: Latencies
    """Time to route one prompt."""

    @property
    def running(self) -> bool | None:
        """Whether the process is still there; None if it runs on another machine."""
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class Reporter:
    """Counts what this process routes, and writes its report now and then while it serves and once more at the end.

    A folder that cannot be written is no error: a reader may have no right to.
    """

    def __init__(self, store: Path, slots: Callable[[], PagerStats]) -> None:
        """Report for the store in the folder ``store``, with what ``slots`` says of the slots."""
        self._folder = store / FOLDER
        self._slots = slots
        self._routing = Histogram()
        self._due = time.monotonic() + _EVERY_SECONDS
        self._writing = threading.Lock()

    @property
    def routing(self) -> Latencies:
        """Time to route one prompt, so far."""
        return self._routing.snapshot()

    def decided(self, prompts: int, seconds: float) -> None:
        """Count the decision of a batch; writes the report if the last one is some seconds old."""
        self._routing.add(seconds / max(prompts, 1), prompts)
        if time.monotonic() > self._due:
            self.write()

    def close(self) -> None:
        """Write the last report, if there is anything to tell."""
        if self.routing.count:
            self.write()

    def write(self) -> None:
        """Write the report, in one step for whoever reads it; forget the oldest of processes that are gone."""
        host, pid = socket.gethostname(), os.getpid()
        report = ServingReport(
            host=host, pid=pid, at=time.time_ns(), slots=self._slots(), routing=self.routing
        )
        with self._writing, contextlib.suppress(OSError):
            self._due = time.monotonic() + _EVERY_SECONDS
            self._folder.mkdir(exist_ok=True)
            target = self._folder / f"{host}-{pid}.json"
            fresh = target.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(report))
            fresh.replace(target)
            for path, old in _found(self._folder)[_KEPT:]:
                if old.running is False:
                    path.unlink(missing_ok=True)


def reports(store: Path) -> list[ServingReport]:
    """What the processes that serve the store in a folder last said, the latest first."""
    return [report for _, report in _found(store / FOLDER)]


def _found(folder: Path) -> list[tuple[Path, ServingReport]]:
    found = []
    for path in folder.glob("*.json"):
        with contextlib.suppress(OSError, msgspec.MsgspecError), path.open("rb") as stream:
            found.append((path, msgspec.json.decode(stream.read(_LONGEST), type=ServingReport)))
    return sorted(found, key=lambda one: -one[1].at)
