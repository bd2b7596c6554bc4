"""The candidates of all queries of a search, measured on the full keys as they come in."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sola_index.contract import Floats, Metric, Rows
from sola_index.distances import to_metric
from sola_index.table import KeyTable

# Shapes: M queries, C candidates a query, D dimensions, K answers.
Ranks = npt.NDArray[np.uint64]
"""A distance's bits above a row number: floats that are not negative are ordered like their bits, so these numbers are
sorted by distance, then row. Both halves are read where a little-endian machine keeps them."""

NOTHING = np.uint64(2**64 - 1)
"""The rank of no row; comes after all others."""

DISTANCE = np.uint64(32)
"""Bits below the distance."""


class Shortlist:
    """Live candidate rows of M queries with their distances."""

    __slots__ = ("_ranks", "metric", "nearest_squared_M", "queries_MD", "table")

    def __init__(self, table: KeyTable, metric: Metric, queries_MD: Floats) -> None:
        self.table = table
        self.metric = metric
        self.queries_MD = queries_MD
        self.nearest_squared_M = np.full(len(queries_MD), np.inf, np.float32)
        """Squared Euclidean distance of the nearest candidate so far."""
        self._ranks: list[Ranks] = []

    def offer(self, rows_MC: Rows) -> None:
        """Measure and keep the rows that are live; -1 is no row, and a row that comes again is counted once."""
        if rows_MC.shape[1]:
            ranks_MC, nearest_M = self._measure(self.queries_MD, rows_MC)
            self.nearest_squared_M = np.minimum(self.nearest_squared_M, nearest_M)
            self._ranks.append(ranks_MC)

    def offer_to(self, asking_H: Rows, rows_HC: Rows) -> None:
        """The same for the queries of these numbers only."""
        if len(asking_H) == len(self.queries_MD) or not rows_HC.shape[1]:
            self.offer(rows_HC)
            return
        ranks_HC, nearest_H = self._measure(self.queries_MD[asking_H], rows_HC)
        self.nearest_squared_M[asking_H] = np.minimum(self.nearest_squared_M[asking_H], nearest_H)
        ranks_MC = np.full((len(self.queries_MD), rows_HC.shape[1]), NOTHING)
        ranks_MC[asking_H] = ranks_HC
        self._ranks.append(ranks_MC)

    def _measure(self, queries_MD: Floats, rows_MC: Rows) -> tuple[Ranks, Floats]:
        """Ranks of the live ones of these rows, and the least squared distance of each query."""
        # Row -1 reads some bit or other of the bitmap, and is no row either way.
        rows_MC = np.where(self.table.live_N[rows_MC], rows_MC, -1)
        squared_MC = self.table.squared_distances(queries_MD, rows_MC)
        ranks_MC = to_metric(squared_MC, self.metric).view(np.uint32).astype(np.uint64)
        ranks_MC <<= DISTANCE
        ranks_MC |= rows_MC.view(np.uint64)
        return ranks_MC, squared_MC.min(1)

    def best(self, k: int | None) -> Ranks:
        """Ranks of the k nearest (or all), nearest first, equal distances in row order; `NOTHING` fills up."""
        if not self._ranks:
            return np.full((len(self.queries_MD), k or 0), NOTHING)
        ranks_MC = self._ranks[0] if len(self._ranks) == 1 else np.concatenate(self._ranks, axis=1)
        ranks_MC.sort(axis=1)
        again_MC = ranks_MC[:, 1:] == ranks_MC[:, :-1]
        if again_MC.any():
            ranks_MC[:, 1:][again_MC] = NOTHING
            ranks_MC.sort(axis=1)
        if k is None:
            return ranks_MC
        missing = max(0, k - ranks_MC.shape[1])
        return np.pad(ranks_MC[:, :k], ((0, 0), (0, missing)), constant_values=NOTHING)


def row_numbers(ranks_MK: Ranks) -> npt.NDArray[np.int32]:
    """The rows of ranks, -1 for no row."""
    return ranks_MK.view(np.int32)[:, ::2]


def distances_of(ranks_MK: Ranks) -> Floats:
    """The distances of ranks, NaN for no row."""
    return ranks_MK.view(np.float32)[:, 1::2].copy()


def padded(rows: Sequence[Rows]) -> Rows:
    """Ragged row or list numbers as a rectangle, -1 at the end of short lines."""
    padded_MC = np.full((len(rows), max(map(len, rows), default=0)), -1, np.int64)
    for line_C, numbers in zip(padded_MC, rows, strict=True):
        line_C[: len(numbers)] = numbers
    return padded_MC
