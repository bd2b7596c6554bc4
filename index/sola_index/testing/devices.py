"""A device made of numpy: the GPU tier's bookkeeping is tested with it where there is no GPU."""

from typing import Any

import numpy as np

from sola_index.contract import Floats, Rows


class NumpyDevice:
    """Keys in a float16 array, searched by brute force; what lies beyond the occupied slots is poisoned."""

    def __init__(self) -> None:
        self.keys_SD = np.empty((0, 0), np.float16)
        self.clones = 0
        self.moves = 0

    def reserve(self, slots: int, dim: int) -> None:
        """Make room, keeping what fits."""
        larger_SD = np.full((slots, dim), np.nan, np.float16)
        kept = min(slots, len(self.keys_SD))
        if kept:
            larger_SD[:kept] = self.keys_SD[:kept]
        self.keys_SD = larger_SD

    def write(self, start: int, keys_ND: Floats) -> None:
        """Put keys into the slots from ``start`` on."""
        self.keys_SD[start : start + len(keys_ND)] = keys_ND

    def move(self, source: int, target: int) -> None:
        """Copy one slot onto another and poison the first."""
        self.keys_SD[target] = self.keys_SD[source]
        self.keys_SD[source] = np.nan
        self.moves += 1

    def nearest(self, slots: int, queries_MD: Floats, k: int) -> Rows:
        """Brute force; a poisoned slot among the occupied ones is an error of the index."""
        keys_SD = self.keys_SD[:slots].astype(np.float32)
        if np.isnan(keys_SD).any():
            raise AssertionError("an occupied slot was never written")
        queries_MD = queries_MD.astype(np.float16).astype(np.float32)
        squared_MS = ((queries_MD[:, None] - keys_SD) ** 2).sum(2)
        return np.argsort(squared_MS, axis=1, kind="stable")[:, :k].astype(np.int64)

    def clone(self, index: Any) -> Any:
        """The index itself: it is not changed after it was cloned."""
        self.clones += 1
        return index
