"""Work on many rows, block by block, beside one another: numpy and torch let other threads run while they compute."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 8
"""Workers at most: each holds what it works on in memory."""
_here = threading.local()


def blocks(count: int, size: int) -> Iterator[slice]:
    """Cut ``count`` rows into slices of ``size``."""
    return (slice(start, start + size) for start in range(0, count, size))


def over_blocks(work: Callable[[slice], Result], count: int, size: int) -> list[Result]:
    """What ``work`` makes of each block of rows, in order; see `beside`."""
    return list(beside(work, blocks(count, size)))


def beside(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """What ``work`` makes of each item, in order: by as many ``workers`` as torch has threads, each on one of torch's.

    Products of a few hundred rows are not worth sharing: threads would wait for one another. A thread that meets torch for the
    first time meanwhile gets one thread as well. Whatever goes wrong stops the other workers at their next `carry_on`.
    """
    threads, fate = torch.get_num_threads(), _Fate()
    try:
        with ThreadPoolExecutor(workers or min(threads, _MOST), initializer=fate.begin) as pool:
            try:
                yield from pool.map(partial(fate.share, work), items)
            except CancelledError as cancelled:
                raise (fate.error or cancelled) from None
            finally:
                fate.stop.set()
    finally:
        # what a worker sets for itself is also what threads that come later begin with
        torch.set_num_threads(threads)


def carry_on() -> None:
    """Call between the steps of long work.

    Raises:
        CancelledError: in a worker whose results nobody wants any more.
    """
    stop = getattr(_here, "stop", None)
    if stop is not None and stop.is_set():
        raise CancelledError


class _Fate:
    """What workers share: the first error of any ends them all."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None

    def begin(self) -> None:
        """Begin a worker."""
        _here.stop = self.stop
        torch.set_num_threads(1)

    def share(self, work: Callable[[Item], Result], item: Item) -> Result:
        """Work, and let the others know if it goes wrong."""
        try:
            carry_on()
            return work(item)
        except BaseException as error:
            if not self.stop.is_set():
                self.error = error
                self.stop.set()
            raise
