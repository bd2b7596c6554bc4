"""One background job at a time, in small steps, that can be waited for and stopped."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sola_index.backend import use_one_thread

logger = logging.getLogger("sola_index")


RETRY = 30.0
"""Seconds to wait after a failed job."""


class Job(NamedTuple):
    """Work in steps and its last act, with the reason for it."""

    reason: str
    steps: Iterator[None]
    finish: Callable[[], None]
    is_rebuild: bool = True


class Background:
    """Runs a job's steps in a thread of its own, then its last act; a failed job leaves things as they were."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._retry_at = 0.0
        self.rebuilds = 0
        self.last_reason: str | None = None
        self.last_seconds = 0.0
        self.last_error: str | None = None

    @property
    def ready(self) -> bool:
        """Whether a job may start: none is running, and the last failure was a while ago."""
        return not self.busy and time.monotonic() >= self._retry_at

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self, job: Job) -> None:
        """Run a job in a thread; the caller has made sure that none is running."""
        assert not self.busy
        self._thread = threading.Thread(target=self._run_apart, args=(job,), name="sola-index", daemon=True)
        self._thread.start()

    def _run_apart(self, job: Job) -> None:
        use_one_thread()
        self.run(job)

    def run(self, job: Job) -> None:
        """Run a job here and now."""
        started = time.perf_counter()
        try:
            for _ in job.steps:
                if self._stopping.is_set():
                    return
            job.finish()
        except Exception as error:
            # A rebuild that fails must not take the working index with it.
            self.last_error = f"{job.reason}: {error!r}"
            self._retry_at = time.monotonic() + RETRY
            logger.exception("%s failed; the index goes on as it was", job.reason)
            return
        if job.is_rebuild:
            self.rebuilds += 1
            self.last_reason = job.reason
            self.last_seconds = time.perf_counter() - started
            logger.info("rebuild (%s) took %.2f s", job.reason, self.last_seconds)

    def wait(self) -> None:
        """Wait for the running job, if any."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def stop(self) -> None:
        """Ask the running job to stop, wait for it, and start no other."""
        self._stopping.set()
        self.wait()
