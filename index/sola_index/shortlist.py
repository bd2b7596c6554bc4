"""The candidates of one query, measured on the full keys as they come in."""

import numpy as np

from sola_index.contract import Floats, Metric, Rows
from sola_index.distances import squared_distances, to_metric
from sola_index.table import KeyTable

# Shapes: C candidates, D dimensions, K answers.


class Shortlist:
    """Live candidate rows with their true distances; a row may be offered again."""

    __slots__ = ("_distances", "_rows", "metric", "offered", "query_D", "table")

    def __init__(self, table: KeyTable, metric: Metric, query_D: Floats) -> None:
        self.table = table
        self.metric = metric
        self.query_D = query_D
        self.offered = 0
        self._rows: list[Rows] = []
        self._distances: list[Floats] = []

    def offer(self, rows_C: Rows) -> None:
        """Measure rows that are live and keep them."""
        self.offered += len(rows_C)
        rows_C = rows_C[self.table.live_N[rows_C]]
        if len(rows_C):
            squared_C = squared_distances(self.query_D, self.table.gather(rows_C))
            self._rows.append(rows_C)
            self._distances.append(to_metric(squared_C, self.metric))

    @property
    def live(self) -> int:
        """How many live candidates were offered, repetitions included."""
        return sum(len(rows_C) for rows_C in self._rows)

    def nearest_squared(self) -> float:
        """Squared distance of the nearest candidate so far; infinite when there is none."""
        if not self._rows:
            return float("inf")
        nearest = min(float(distances_C.min()) for distances_C in self._distances)
        return 2.0 * nearest if self.metric == "cosine" else nearest * nearest

    def best(self, k: int | None) -> tuple[Rows, Floats]:
        """The k nearest (or all), nearest first, equal distances in row order, without repetition."""
        if not self._rows:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows_C, distances_C = np.concatenate(self._rows), np.concatenate(self._distances)
        if k is not None and len(rows_C) > 4 * k + 64:
            # Repetitions are at most threefold (codes twice, twin once), so the k nearest are among these.
            limit = np.partition(distances_C, 4 * k)[4 * k]
            kept_C = distances_C <= limit
            rows_C, distances_C = rows_C[kept_C], distances_C[kept_C]
        order_C = np.lexsort((rows_C, distances_C))
        rows_C, distances_C = rows_C[order_C], distances_C[order_C]
        if len(rows_C) > 1:
            # Equal rows have equal distances, so repetitions stand side by side.
            first_C = np.concatenate(([True], rows_C[1:] != rows_C[:-1]))
            rows_C, distances_C = rows_C[first_C], distances_C[first_C]
        return rows_C[:k], distances_C[:k]
