"""What the tests of the index's parts share."""

import numpy as np
import pytest

from sola_index.table import KeyTable
from sola_index.testing.conformance import consecutive, unit_keys
from tests.index.helpers import DIM


@pytest.fixture
def table():
    """A hundred keys, of which rows 10, 11 and 12 are equal and row 5 is dead."""
    keys_ND = unit_keys(100, 1, DIM)
    keys_ND[10:13] = keys_ND[10]
    table = KeyTable(DIM)
    table.append(consecutive(100), keys_ND)
    table.kill(np.array([5]))
    return table
