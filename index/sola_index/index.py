"""The index: one object whose tiers change with the number of keys without the caller noticing."""

import threading
from pathlib import Path
from typing import Any, Self

import numpy as np

from sola_index import checks, exact, snapshot
from sola_index.answers import pack_search, pack_within
from sola_index.contract import Floats, Ids, Metric, NearestKeyIndex, SearchResult, WithinResult
from sola_index.distances import squared_radius
from sola_index.errors import ClosedIndexError
from sola_index.exact import Hits
from sola_index.table import KeyTable

# Shapes: M queries, N keys, D dimensions, K answers a query, H hits.


class KeyIndex(NearestKeyIndex):
    """A revocable nearest-key index; see `NearestKeyIndex` for what each method promises."""

    def __init__(self, dim: int, metric: Metric = "cosine") -> None:
        self.dim = checks.check_dim(dim)
        self.metric = checks.check_metric(metric)
        self._table = KeyTable(self.dim)
        self._last_id: int | None = None
        self._closed = False
        self._writing = threading.RLock()

    def add(self, ids: Ids, keys: Floats) -> None:
        """Add keys; see the contract."""
        with self._writing:
            self._check_open()
            ids_N = checks.check_new_ids(ids, self._last_id)
            keys_ND = checks.check_keys(keys, self.dim, self.metric)
            checks.check_pairs(ids_N, keys_ND)
            if len(ids_N):
                self._table.append(ids_N, keys_ND)
                self._last_id = int(ids_N[-1])

    def remove(self, ids: Ids) -> None:
        """Remove keys; see the contract."""
        with self._writing:
            self._check_open()
            self._table.kill(self._table.rows_of(checks.check_distinct(ids)))

    def search(self, queries: Floats, k: int, *, exact: bool = False) -> SearchResult:
        """Find the nearest keys; see the contract."""
        del exact  # the flat tier is always exact
        self._check_open()
        k = checks.check_k(k)
        queries_MD = checks.check_queries(queries, self.dim, self.metric)
        table = self._table
        return pack_search([self._answer(table, hits) for hits in self._exact(table, queries_MD, k)], k)

    def within(self, queries: Floats, radius: float) -> WithinResult:
        """Find all keys in a radius; see the contract."""
        self._check_open()
        radius = checks.check_radius(radius)
        queries_MD = checks.check_queries(queries, self.dim, self.metric)
        table = self._table
        squared = squared_radius(radius, self.metric)
        answers = []
        for query_D, rows_C in zip(
            queries_MD, exact.inside(table, queries_MD, squared, 0, table.count), strict=True
        ):
            ids_H, far_H = self._answer(table, exact.rank(table, self.metric, query_D, rows_C))
            answers.append((ids_H[far_H <= radius], far_H[far_H <= radius]))
        return pack_within(answers)

    def _exact(self, table: KeyTable, queries_MD: Floats, k: int) -> list[Hits]:
        candidates = exact.nearest(table, queries_MD, k, 0, table.count)
        return [
            exact.rank(table, self.metric, query_D, rows_C, k)
            for query_D, rows_C in zip(queries_MD, candidates, strict=True)
        ]

    def _answer(self, table: KeyTable, hits: Hits) -> tuple[Ids, Floats]:
        """Ids and distances of hits; liveness is checked last, so that a removal that has returned is seen."""
        live_H = table.live_N[hits.rows]
        return table.ids_N[hits.rows][live_H], hits.distances[live_H]

    def __len__(self) -> int:
        return self._table.live_count

    def __contains__(self, key_id: object) -> bool:
        if not isinstance(key_id, int | np.integer) or not 0 <= key_id <= checks.NO_ID:
            return False
        table = self._table
        count = table.count
        row = int(np.searchsorted(table.ids_N[:count], np.uint64(key_id)))
        return row < count and int(table.ids_N[row]) == key_id and bool(table.live_N[row])

    @property
    def ids(self) -> Ids:
        """The live ids, ascending."""
        table = self._table
        count = table.count
        return table.ids_N[:count][table.live_N[:count]]

    @property
    def last_id(self) -> int | None:
        """The greatest id ever added."""
        return self._last_id

    def keys_of(self, ids: Ids) -> Floats:
        """The full keys of live ids."""
        self._check_open()
        table = self._table
        return table.gather(table.rows_of(checks.as_ids(ids)))

    def stats(self) -> dict[str, Any]:
        """What the index holds."""
        return {"tier": "flat", "live": len(self), "rows": self._table.count}

    def snapshot(self, path: Path | str, lsn: int) -> None:
        """Write a snapshot; see the contract."""
        folder = Path(path)
        with self._writing:
            self._check_open()
            rows = self._table.count
            generation = snapshot.next_generation(folder)
            header = snapshot.Header(self.dim, self.metric, self._last_id, lsn, rows, generation)
            snapshot.write(folder, header, self._table, rows, None)

    @classmethod
    def load(cls, path: Path | str) -> tuple[Self, int]:
        """Read a snapshot; see the contract."""
        header, table, _ = snapshot.read(Path(path))
        index = cls(header.dim, header.metric)
        index._table = table
        index._last_id = header.last_id
        return index, header.lsn

    def close(self) -> None:
        """Let go of the keys."""
        with self._writing:
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedIndexError("the index is closed")
