"""How a state is searched: candidates from codes or device, the rows not encoded yet, twins, and all keys if need be."""

import numpy as np

from sola_index import exact
from sola_index.compressed import CompressedTier
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Metric, Rows
from sola_index.gpu.mirror import DeviceMirror
from sola_index.maintenance import State
from sola_index.shortlist import NOTHING, Ranks, Shortlist, padded
from sola_index.single import OneQuery
from sola_index.table import KeyTable

# Shapes: M queries, D dimensions, C candidates, K answers.


class Searcher:
    """Finds candidates in a state; knows the settings and the device, keeps nothing between searches."""

    def __init__(self, config: IndexConfig, metric: Metric, mirror: DeviceMirror | None) -> None:
        self._config = config
        self._metric = metric
        self._mirror = mirror

    def likely(self, state: State, queries_MD: Floats, k: int) -> Ranks:
        """The k nearest of the rows that are probably nearest, [M, K]; every key is asked where those are too few."""
        table, tier = state
        if tier is None:
            return self.exact(state, queries_MD, k)
        if len(queries_MD) == 1 and self._mirror is None:
            return self._likely_one(state, tier, queries_MD, k)
        shortlist = Shortlist(table, self._metric, queries_MD)
        self._propose(state, shortlist, k)
        ranks_MK = shortlist.best(k)
        wanted = min(k, table.live_count)
        if wanted:
            # Removals may have left too few.
            short_H = (ranks_MK[:, wanted - 1] == NOTHING).nonzero()[0]
            if len(short_H):
                ranks_MK[short_H] = self.exact(state, queries_MD[short_H], k)
        return ranks_MK

    def _likely_one(self, state: State, tier: CompressedTier, query_1D: Floats, k: int) -> Ranks:
        """The same for a single query, [1, K]."""
        table = state.table
        one = OneQuery(table, self._metric, query_1D)
        with tier.lock.reading:
            covered = tier.covered
            tier.propose_one(one, dead_share(table), k)
        end = table.count
        if covered < end:
            few = end - covered <= self._config.tail
            one.offer(np.arange(covered, end) if few else exact.nearest(table, query_1D, k, covered, end)[0])
        twin_rows = tier.twins.match(query_1D)
        if len(twin_rows):
            one.offer(twin_rows)
        ranks_1K = one.best(k)
        wanted = min(k, table.live_count)
        # Removals may have left too few.
        return self.exact(state, query_1D, k) if wanted and ranks_1K[0, wanted - 1] == NOTHING else ranks_1K

    def exact(self, state: State, queries_MD: Floats, k: int) -> Ranks:
        """The k nearest of all live rows, [M, K]."""
        ranks_MK = np.full((len(queries_MD), k), NOTHING)
        candidates = exact.nearest(state.table, queries_MD, k, 0, state.table.count)
        # One by one: a query among equal keys may have as many candidates as there are rows.
        for query, rows_C in enumerate(candidates):
            shortlist = Shortlist(state.table, self._metric, queries_MD[query : query + 1])
            shortlist.offer(rows_C[None])
            ranks_MK[query] = shortlist.best(k)[0]
        return ranks_MK

    def _propose(self, state: State, shortlist: Shortlist, k: int) -> None:
        """Offer the rows that are probably nearest, and certainly those equal to a query or not encoded yet."""
        table, tier = state
        assert tier is not None
        with tier.lock.reading:
            covered = tier.covered
            if self._mirror is None:
                tier.propose(shortlist, dead_share(table), k)
        if self._mirror is not None:
            self._mirror.propose(shortlist, k)
        elif covered < table.count:
            self._tail(state, shortlist, covered, k)
        twin_rows = tier.twins.matches(shortlist.queries_MD)
        if twin_rows:
            shortlist.offer_to(np.array(list(twin_rows)), padded(list(twin_rows.values())))

    def _tail(self, state: State, shortlist: Shortlist, covered: int, k: int) -> None:
        """Offer the rows that are not encoded yet: all of a few, the nearest of many."""
        end = state.table.count
        if end - covered <= self._config.tail:
            shortlist.offer(np.tile(np.arange(covered, end), (len(shortlist.queries_MD), 1)))
        else:
            shortlist.offer(padded(exact.nearest(state.table, shortlist.queries_MD, k, covered, end)))

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


def dead_share(table: KeyTable) -> float:
    """Share of a table's rows that are dead."""
    return 1.0 - table.live_count / max(1, table.count)
