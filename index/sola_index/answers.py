"""From rows and distances to the arrays of an answer."""

from collections.abc import Sequence

import numpy as np

from sola_index.contract import NO_ID, Floats, Ids, SearchResult, WithinResult
from sola_index.shortlist import Ranks, distances_of, row_numbers
from sola_index.table import KeyTable

# Shapes: M queries, K answers a query, H hits.


def answer(searched: KeyTable, current: KeyTable, ranks_MK: Ranks) -> SearchResult:
    """What was found in a table, as ids; liveness has the last word, in the newest table if it was replaced meanwhile."""
    rows_MK = row_numbers(ranks_MK)
    # Row -1 is no row, and reads whatever comes last.
    ids_MK, far_MK = searched.ids_N.take(rows_MK, mode="wrap"), distances_of(ranks_MK)
    live_MK = searched.live_N.take(rows_MK, mode="wrap")
    live_MK &= rows_MK >= 0
    if current is not searched:
        live_MK &= current.contains(ids_MK.reshape(-1)).reshape(ids_MK.shape)
    if live_MK.all():
        return SearchResult(ids_MK, far_MK)
    ids_MK[~live_MK], far_MK[~live_MK] = NO_ID, np.inf
    order_MK = (~live_MK).argsort(axis=1, kind="stable")
    return SearchResult(np.take_along_axis(ids_MK, order_MK, 1), np.take_along_axis(far_MK, order_MK, 1))


def pack_search(ranked: Sequence[tuple[Ids, Floats]], k: int) -> SearchResult:
    """A rectangular answer; short rows are filled with `NO_ID` at infinite distance."""
    ids_MK = np.empty((len(ranked), k), np.uint64)
    far_MK = np.empty((len(ranked), k), np.float32)
    for query, (ids_H, far_H) in enumerate(ranked):
        found = len(ids_H)
        ids_MK[query, :found], far_MK[query, :found] = ids_H, far_H
        if found < k:
            ids_MK[query, found:], far_MK[query, found:] = NO_ID, np.inf
    return SearchResult(ids_MK, far_MK)


def pack_within(ranked: Sequence[tuple[Ids, Floats]]) -> WithinResult:
    """A ragged answer: one run of hits a query."""
    offsets = np.zeros(len(ranked) + 1, np.int64)
    np.cumsum([len(ids_H) for ids_H, _ in ranked], out=offsets[1:])
    ids_H = np.concatenate([np.empty(0, np.uint64), *(hits for hits, _ in ranked)])
    far_H = np.concatenate([np.empty(0, np.float32), *(far for _, far in ranked)])
    return WithinResult(offsets, ids_H, far_H)
