"""Exact search by blocks: a matrix product with a rigorous error bound decides which rows are worth subtracting."""

import numpy as np

from sola_index.contract import Floats, Rows
from sola_index.table import Block, KeyTable

# Shapes: M queries, B rows of a block, K answers, D dimensions, C candidates.
BLOCK_ROWS = 8192
QUERY_ROWS = 128


def rounding(dim: int) -> float:
    """A bound on the relative error of both float32 forms of a squared distance, in units of ``|q|^2 + |x|^2``.

    A float32 dot product of length d is off by at most ``d u / (1 - d u)`` times the product of the lengths, u = 2^-24
    (Higham 2002, eq. 3.5); the expanded form and the subtraction each stay within twice that of ``2 (|q|^2 + |x|^2)``.
    """
    unit = 2.0**-24 * (dim + 8)
    return 8.0 * unit / (1.0 - unit)


def bounds(queries_MD: Floats, block: Block) -> tuple[Floats, Floats]:
    """Lower and upper bounds of the squared distances of all queries to all rows of a block, each [M, B]."""
    squares_MB = np.einsum("md,md->m", queries_MD, queries_MD)[:, None] + block.squared_norms_N
    slack = np.float32(rounding(queries_MD.shape[1]))
    expanded_MB = squares_MB - 2.0 * (queries_MD @ block.keys_ND.T)
    squares_MB *= slack
    return expanded_MB - squares_MB, expanded_MB + squares_MB


def nearest(table: KeyTable, queries_MD: Floats, k: int, start: int, end: int) -> list[Rows]:
    """Live rows among ``start:end`` that contain the k nearest of each query, ascending; a few more than k."""
    candidates: list[Rows] = []
    for first in range(0, len(queries_MD), QUERY_ROWS):
        candidates += _nearest_part(table, queries_MD[first : first + QUERY_ROWS], k, start, end)
    return candidates


def _nearest_part(table: KeyTable, queries_MD: Floats, k: int, start: int, end: int) -> list[Rows]:
    """Rows that may be among the k nearest: those whose lower bound does not exceed the k-th best upper bound."""
    limit_M = np.full(len(queries_MD), np.inf, np.float32)
    seen: list[tuple[Rows, Rows, Floats]] = []
    for block in table.blocks(start, end, BLOCK_ROWS):
        lower_MB, upper_MB = bounds(queries_MD, block)
        dead_B = ~table.live_N[block.start : block.start + len(block.keys_ND)]
        lower_MB[:, dead_B] = np.inf
        upper_MB[:, dead_B] = np.inf
        if upper_MB.shape[1] >= k:
            limit_M = np.minimum(limit_M, np.partition(upper_MB, k - 1, axis=1)[:, k - 1])
        queries_C, rows_C = np.nonzero((lower_MB <= limit_M[:, None]) & ~dead_B)
        seen.append((queries_C, rows_C + block.start, lower_MB[queries_C, rows_C]))
    return _by_query(seen, limit_M)


def _by_query(seen: list[tuple[Rows, Rows, Floats]], limit_M: Floats) -> list[Rows]:
    """Candidates still under the limit of their query, split by query, rows ascending."""
    if not seen:
        return [np.empty(0, np.int64) for _ in limit_M]
    queries_C, rows_C, lower_C = (np.concatenate(column) for column in zip(*seen, strict=True))
    kept_C = lower_C <= limit_M[queries_C]
    queries_C, rows_C = queries_C[kept_C], rows_C[kept_C]
    order_C = np.lexsort((rows_C, queries_C))
    cuts_M = np.searchsorted(queries_C[order_C], np.arange(1, len(limit_M)))
    return np.split(rows_C[order_C], cuts_M)


def inside(table: KeyTable, queries_MD: Floats, squared: float, start: int, end: int) -> list[Rows]:
    """Live rows among ``start:end`` that may lie within a squared radius of each query, ascending."""
    candidates: list[Rows] = []
    for first in range(0, len(queries_MD), QUERY_ROWS):
        part_MD = queries_MD[first : first + QUERY_ROWS]
        seen: list[tuple[Rows, Rows, Floats]] = []
        for block in table.blocks(start, end, BLOCK_ROWS):
            lower_MB, _ = bounds(part_MD, block)
            live_B = table.live_N[block.start : block.start + len(block.keys_ND)]
            queries_C, rows_C = np.nonzero((lower_MB <= squared) & live_B)
            seen.append((queries_C, rows_C + block.start, lower_MB[queries_C, rows_C]))
        candidates += _by_query(seen, np.full(len(part_MD), np.inf, np.float32))
    return candidates
