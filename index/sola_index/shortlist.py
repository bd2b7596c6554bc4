"""The candidates of one query, measured on the full keys as they come in."""

import numpy as np

from sola_index.contract import Floats, Metric, Rows
from sola_index.distances import to_metric
from sola_index.table import KeyTable

# Shapes: C candidates, D dimensions, K answers.
REPETITIONS = 5
"""How often one row may be offered: by two scans of two lists each, and as a twin or by a device."""

MARGIN = 4
"""Candidates beyond k that are kept to the end: a square root may make two different squares equal."""


class Shortlist:
    """Live candidate rows with their distances; a row may be offered again."""

    __slots__ = ("_rows", "_squared", "metric", "nearest_squared", "query_D", "table")

    def __init__(self, table: KeyTable, metric: Metric, query_D: Floats) -> None:
        self.table = table
        self.metric = metric
        self.query_D = query_D
        self.nearest_squared = float("inf")
        """Squared Euclidean distance of the nearest candidate so far."""
        self._rows: list[Rows] = []
        self._squared: list[Floats] = []

    def offer(self, rows_C: Rows) -> None:
        """Measure rows that are live and keep them; negative rows are holes."""
        if not len(rows_C):
            return
        rows_C = rows_C[self.table.live_N[rows_C] & (rows_C >= 0)]
        if len(rows_C):
            squared_C = self.table.squared_distances(self.query_D, rows_C)
            self.nearest_squared = min(self.nearest_squared, float(squared_C.min()))
            self._rows.append(rows_C)
            self._squared.append(squared_C)

    def has(self, count: int) -> bool:
        """Whether there are at least so many distinct candidates."""
        offered = sum(map(len, self._rows))
        if offered < count or offered >= REPETITIONS * count:
            return offered >= count
        return len(np.unique(np.concatenate(self._rows))) >= count

    def best(self, k: int | None) -> tuple[Rows, Floats]:
        """The k nearest (or all), nearest first, equal distances in row order, without repetition."""
        if not self._rows:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows_C, squared_C = self._rows[0], self._squared[0]
        if len(self._rows) > 1:
            rows_C, squared_C = np.concatenate(self._rows), np.concatenate(self._squared)
        kept = len(rows_C) if k is None else REPETITIONS * (k + MARGIN)
        if kept < len(rows_C):
            near_C = squared_C <= np.partition(squared_C, kept)[kept]
            rows_C, squared_C = rows_C[near_C], squared_C[near_C]
        distances_C = to_metric(squared_C, self.metric)
        order_C = np.lexsort((rows_C, distances_C))
        rows_C, distances_C = rows_C[order_C], distances_C[order_C]
        # Equal rows have equal distances, so repetitions stand side by side.
        first_C = np.ones(len(rows_C), np.bool_)
        np.not_equal(rows_C[1:], rows_C[:-1], out=first_C[1:])
        return rows_C[first_C][:k], distances_C[first_C][:k]
