"""How a state is searched: candidates from codes or device, the rows not encoded yet, twins, and all keys if need be."""

import numpy as np

from sola_index import exact
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Rows
from sola_index.gpu.mirror import DeviceMirror
from sola_index.maintenance import State
from sola_index.shortlist import Shortlist

# Shapes: M queries, D dimensions, C candidates.


class Searcher:
    """Fills shortlists from a state; knows the settings and the device, keeps nothing between searches."""

    def __init__(self, config: IndexConfig, mirror: DeviceMirror | None) -> None:
        self._config = config
        self._mirror = mirror

    def likely(self, state: State, shortlists: list[Shortlist], queries_MD: Floats, k: int) -> None:
        """Offer the rows that are probably nearest, and certainly those equal to the query or not encoded yet."""
        table, tier = state
        if tier is None:
            return
        dead_share = 1.0 - table.live_count / max(1, table.count)
        with tier.lock.reading:
            covered = tier.covered
            if self._mirror is None:
                tier.propose(shortlists, queries_MD, dead_share, k)
        if self._mirror is not None:
            self._mirror.propose(table, shortlists, queries_MD, k)
        self._tail(state, shortlists, queries_MD, covered, k)
        for shortlist, query_D in zip(shortlists, queries_MD, strict=True):
            shortlist.offer(tier.twins.rows_of(query_D))

    def _tail(
        self, state: State, shortlists: list[Shortlist], queries_MD: Floats, covered: int, k: int
    ) -> None:
        """Offer the rows that are not encoded yet: all of a few, the nearest of many."""
        table = state.table
        end = table.count
        if covered == end:
            return
        if end - covered <= self._config.tail:
            tails = [np.arange(covered, end)] * len(shortlists)
        else:
            tails = exact.nearest(table, queries_MD, k, covered, end)
        for shortlist, rows_C in zip(shortlists, tails, strict=True):
            shortlist.offer(rows_C)

    def missing(self, state: State, shortlists: list[Shortlist], queries_MD: Floats, k: int) -> None:
        """Look at every key where there are fewer than k candidates: asked to, few keys, or removals left a hole."""
        wanted = min(k, state.table.live_count)
        short = [query for query, shortlist in enumerate(shortlists) if not shortlist.has(wanted)]
        if short:
            candidates = exact.nearest(state.table, queries_MD[short], k, 0, state.table.count)
            for query, rows_C in zip(short, candidates, strict=True):
                shortlists[query].offer(rows_C)

    def inside(self, state: State, queries_MD: Floats, squared: float) -> list[Rows]:
        """Rows that contain all within a squared radius: by certified bounds where they prune, else by every key."""
        table, tier = state
        covered = 0
        found: list[Rows | None] = [None] * len(queries_MD)
        if tier is not None:
            with tier.lock.reading:
                covered = tier.covered
                found = [tier.within(query_D, float(np.sqrt(squared))) for query_D in queries_MD]
        beyond = exact.inside(table, queries_MD, squared, covered, table.count)
        unpruned = [query for query, rows_C in enumerate(found) if rows_C is None]
        scanned = exact.inside(table, queries_MD[unpruned], squared, 0, covered)
        by_query = dict(zip(unpruned, scanned, strict=True))
        return [
            np.concatenate([by_query[query] if rows_C is None else rows_C, beyond[query]])
            for query, rows_C in enumerate(found)
        ]
