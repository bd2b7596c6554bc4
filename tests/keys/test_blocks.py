"""Blocks: rows in order, whichever thread is done first."""

import threading
import time

import numpy as np
import pytest
import torch

from sola_scale.keys.blocks import beside, blocks, carry_on, over_blocks


@pytest.mark.parametrize(("count", "cuts"), [(0, []), (3, [0]), (4, [0]), (9, [0, 4, 8])])
def test_blocks_cover_every_row_once(count, cuts):
    """Blocks follow one another, the last one as long as what is left."""
    found = list(blocks(count, 4))
    assert [block.start for block in found] == cuts
    assert np.concatenate([np.arange(count)[block] for block in found] or [[]]).tolist() == list(range(count))


def test_results_come_in_the_order_of_blocks():
    """A block that is done late stays in its place."""

    def work(block: slice) -> int:
        time.sleep(0.02 if block.start == 0 else 0)
        return block.start

    assert over_blocks(work, 10, 3) == [0, 3, 6, 9]


def test_what_goes_wrong_in_a_block_is_raised():
    """No block's error is swallowed."""
    with pytest.raises(ZeroDivisionError):
        over_blocks(lambda block: 1 // block.start, 10, 3)


def _threads_of_a_newcomer() -> int:
    """What a thread that has not met torch before begins with."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("fails", [False, True])
def test_workers_have_one_thread_each_and_the_callers_stay(fails):
    """Torch's threads are those of before, for the caller and for whoever comes later, also after an error."""
    seen = set()

    def work(item: int) -> None:
        seen.add(torch.get_num_threads())
        if fails:
            raise ZeroDivisionError

    try:
        list(beside(work, range(20)))
    except ZeroDivisionError:
        assert fails
    assert seen == {1}
    assert (torch.get_num_threads(), _threads_of_a_newcomer()) == (3, 3)


@pytest.mark.usefixtures("three_threads")
def test_an_error_stops_the_others_where_they_carry_on():
    """Work that asks whether it is wanted ends soon after another's error; outside of a worker it always is."""

    def work(item: int) -> None:
        if item == 1:
            raise ZeroDivisionError
        while True:
            carry_on()
            time.sleep(0.001)

    with pytest.raises(ZeroDivisionError):
        # the worker that fails is not the one that is waited for first
        list(beside(work, range(2)))
    carry_on()
