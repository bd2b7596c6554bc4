"""Work on many rows, block by block, beside one another: numpy lets other threads run while it computes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


def blocks(count: int, size: int) -> Iterator[slice]:
    """Cut ``count`` rows into slices of ``size``."""
    return (slice(start, start + size) for start in range(0, count, size))


def over_blocks(work: Callable[[slice], Result], count: int, size: int) -> list[Result]:
    """What ``work`` makes of each block, in order; as many run at once as torch has threads."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(work, blocks(count, size)))
