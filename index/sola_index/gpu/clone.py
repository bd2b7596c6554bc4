"""Beyond a size: an IVF index on the device, a clone of the truth that ages until it is made again."""

from typing import Any

import numpy as np

from sola_index.backend import faiss
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Rows
from sola_index.gpu.device import Device
from sola_index.lists import KEYS_A_LIST, lists_for
from sola_index.table import KeyTable

# Shapes: M queries, N rows, K answers.
MOST_ANSWERS = 2048
"""More answers, or more probes, than this faiss's GPU kernels refuse."""


class Clone:
    """A read-only IVF copy of the live rows of a table.

    GPU indexes cannot remove and silently ignore selectors, so its answers are filtered by the live bitmap.
    """

    def __init__(self, device: Device, table: KeyTable, config: IndexConfig) -> None:
        self.table = table
        self.covered = table.count
        self._live = table.live_count
        self._stale = config.device_stale
        truth = ivf_of_live_rows(table, self.covered, config.seed)
        self._index = device.clone(truth)
        self._index.nprobe = min(config.device_probes, truth.nlist, MOST_ANSWERS)

    def is_stale(self, table: KeyTable) -> bool:
        """Whether it should be made again: its table was replaced, or too much was added or removed since."""
        if table is not self.table:
            return True
        added = table.count - self.covered
        removed = self._live + added - table.live_count
        return added + removed > self._stale * max(1, self._live)

    def nearest(self, queries_MD: Floats, k: int) -> Rows:
        """Rows, int64 [M, K]; some may be dead, -1 where there are none."""
        _, rows_MK = self._index.search(queries_MD, min(k, MOST_ANSWERS))
        return np.asarray(rows_MK, np.int64)


def ivf_of_live_rows(table: KeyTable, end: int, seed: int) -> Any:
    """A CPU IVF index in float16 of the live rows below ``end``, labelled by row."""
    live_N = table.live_rows(0, end)
    lists = max(1, min(lists_for(len(live_N)), len(live_N) // KEYS_A_LIST))
    index = faiss.index_factory(table.dim, f"IVF{lists},SQfp16")
    index.by_residual, index.cp.seed = False, seed
    index.train(table.gather(live_N[:: max(1, len(live_N) // (2 * KEYS_A_LIST * lists))]))
    for start in range(0, len(live_N), 65_536):
        rows_N = live_N[start : start + 65_536]
        index.add_with_ids(table.gather(rows_N), rows_N)
    return index
