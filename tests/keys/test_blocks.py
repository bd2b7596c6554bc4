"""Blocks: rows in order, whichever thread is done first."""

import time

import numpy as np
import pytest

from sola_scale.keys.blocks import blocks, over_blocks


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
