"""Work on many rows, block by block, beside one another: numpy and torch let other threads run while they compute."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def blocks(count: int, size: int) -> Iterator[slice]:
    """Cut ``count`` rows into slices of ``size``."""
    return (slice(start, start + size) for start in range(0, count, size))


def over_blocks(work: Callable[[slice], Result], count: int, size: int) -> list[Result]:
    """What ``work`` makes of each block of rows, in order; see `beside`."""
    return beside(work, blocks(count, size))


def beside(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What ``work`` makes of each item, in order: as many at once as torch has threads, each on one.

    Products of a few hundred rows are not worth sharing: threads would wait for one another.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
    finally:
        # what a worker sets for itself is also what threads that come later begin with
        torch.set_num_threads(threads)
