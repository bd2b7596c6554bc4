"""One query's candidates: what `Shortlist` does for many, in a third of the numpy calls, for an ordinary search."""

import threading

import numpy as np

from sola_index.backend import faiss
from sola_index.contract import Floats, Metric, Rows
from sola_index.distances import to_metric
from sola_index.shortlist import DISTANCE, NOTHING, Ranks
from sola_index.table import KeyTable

# Shapes: D dimensions, C candidates, R of them asked of the codes, L lists, K answers.


class Scratch(threading.local):
    """What faiss reads and writes for one query, kept by each thread with its addresses.

    Taking an address costs as much as a small numpy call.
    """

    def __init__(self) -> None:
        self.rows_R: Rows = np.empty(0, np.int64)
        self.lists_L: Rows = np.empty(0, np.int64)
        self._reserve(rows=512, lists=1024)

    def _reserve(self, rows: int, lists: int) -> None:
        self.rows_R, self.lists_L = np.empty(rows, np.int64), np.empty(lists, np.int64)
        # The quantizer's distances go unused, and those to the codes are replaced by those to the keys.
        self._unused = np.zeros(lists, np.float32), np.empty(rows, np.float32)
        pointer = faiss.swig_ptr
        self.rows, self.lists = pointer(self.rows_R), pointer(self.lists_L)
        self.coarse, self.squared = (pointer(array) for array in self._unused)

    def hold(self, rows: int, lists: int = 0) -> None:
        """Make room for so many rows and lists; what was there is lost."""
        if rows > len(self.rows_R) or lists > len(self.lists_L):
            self._reserve(max(rows, len(self.rows_R)), max(lists, len(self.lists_L)))


class OneQuery:
    """Live candidate rows of one query with their distances."""

    __slots__ = ("_ranks", "metric", "query_1D", "table")

    def __init__(self, table: KeyTable, metric: Metric, query_1D: Floats) -> None:
        self.table = table
        self.metric = metric
        self.query_1D = query_1D
        self._ranks: list[Ranks] = []

    def offer(self, rows_C: Rows) -> float:
        """Measure and keep the rows that are live; -1 is no row, and a row that comes again is counted once.

        Returns:
            The squared Euclidean distance of the nearest of them, infinite where there is none.
        """
        if not len(rows_C):
            return np.inf
        table = self.table
        if table.live_count < table.count:
            # Row -1 reads some bit or other of the bitmap, and is no row either way.
            rows_C = np.where(table.live_N[rows_C], rows_C, -1)
        squared_C = table.squared_distances(self.query_1D, rows_C[None])[0]
        ranks_C = to_metric(squared_C, self.metric).view(np.uint32).astype(np.uint64)
        ranks_C <<= DISTANCE
        ranks_C |= rows_C.view(np.uint64)
        self._ranks.append(ranks_C)
        return float(np.minimum.reduce(squared_C))

    def best(self, k: int) -> Ranks:
        """Ranks of the k nearest, [1, K], nearest first, equal distances in row order; `NOTHING` fills up."""
        ranks_C = self._ranks[0] if len(self._ranks) == 1 else np.concatenate([[NOTHING], *self._ranks])
        ranks_C.sort()
        distinct_C = np.empty(len(ranks_C), np.bool_)
        distinct_C[:1] = True
        np.not_equal(ranks_C[1:], ranks_C[:-1], out=distinct_C[1:])
        ranks_C = ranks_C[distinct_C][:k]
        if len(ranks_C) < k:
            ranks_C = np.concatenate([ranks_C, np.full(k - len(ranks_C), NOTHING)])
        return ranks_C[None]
