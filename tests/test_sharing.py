"""The shared lock: many at once or one alone, and nobody starves."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sola_scale.sharing import SharedLock

PATIENCE = 60.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Give other threads time to get somewhere; a machine under load may take long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the other thread did not come so far"
        time.sleep(0.001)


def test_sharers_are_inside_together() -> None:
    """Four threads that share the lock meet inside it."""
    lock, meeting = SharedLock(), threading.Barrier(4, timeout=PATIENCE)

    def share() -> None:
        with lock.shared():
            meeting.wait()

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(share) for _ in range(4)]:
            future.result()


def test_one_alone_is_alone() -> None:
    """Nobody, sharing or alone, is inside while a thread holds the lock alone."""
    lock, inside, met = SharedLock(), 0, []

    def alone() -> None:
        nonlocal inside
        for _ in range(50):
            with lock:
                inside += 1
                met.append(inside)
                inside -= 1

    def share() -> None:
        for _ in range(50):
            with lock.shared():
                met.append(inside + 1)

    with ThreadPoolExecutor(6) as threads:
        for future in [threads.submit(work) for work in (alone, share) * 3]:
            future.result()
    assert set(met) == {1}


def test_who_waits_to_be_alone_is_not_overtaken() -> None:
    """Once a thread waits to hold the lock alone, later sharers come after it."""
    lock, order = SharedLock(), []

    def alone() -> None:
        with lock:
            order.append("alone")

    def share() -> None:
        with lock.shared():
            order.append("shared")

    with ThreadPoolExecutor(2) as threads:
        with lock.shared():
            first = threads.submit(alone)
            wait_until(lambda: lock._waiting == 1)
            second = threads.submit(share)
            time.sleep(0.02)
            assert order == []
        first.result()
        second.result()
    assert order == ["alone", "shared"]


def test_the_thread_that_holds_it_alone_may_take_it_again() -> None:
    """Held alone, the lock nests and may be shared by the same thread; afterwards it is free, errors or not."""
    lock = SharedLock()
    with pytest.raises(RuntimeError), lock, lock, lock.shared():
        raise RuntimeError
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lock.__enter__).result()
