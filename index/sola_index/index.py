"""The index: one object whose tiers change with the number of keys without the caller noticing."""

import threading
from pathlib import Path
from typing import Self

import numpy as np

from sola_index import checks, exact, snapshot
from sola_index.answers import pack_search, pack_within
from sola_index.background import Background, Job
from sola_index.config import IndexConfig
from sola_index.contract import NO_ID, Floats, Ids, Metric, NearestKeyIndex, Rows, SearchResult, WithinResult
from sola_index.distances import squared_radius
from sola_index.errors import ClosedIndexError
from sola_index.gpu.device import Device
from sola_index.gpu.mirror import DeviceMirror
from sola_index.maintenance import Rebuild, State, is_imbalanced, reason_to_rebuild
from sola_index.shortlist import Shortlist
from sola_index.stats import IndexStats, describe
from sola_index.table import KeyTable

# Shapes: M queries, N keys, D dimensions, K answers a query, H hits.
BULK = 8192
"""Rows waiting to be encoded from which a rebuild in progress is left to do it."""


class KeyIndex(NearestKeyIndex):
    """A revocable nearest-key index; see `NearestKeyIndex` for what each method promises.

    One thread at a time writes (others wait), any number search. A search sees a state as it was at some moment
    during the call, except that removals are seen up to its very end.
    """

    def __init__(
        self,
        dim: int,
        metric: Metric = "cosine",
        config: IndexConfig | None = None,
        device: Device | None = None,
    ) -> None:
        """Make an empty index.

        Args:
            dim: width of the keys.
            metric: ``"cosine"`` or ``"l2"``.
            config: where tiers change and how hard they look.
            device: a GPU to take candidates from, see `sola_index.gpu.cuda_device`; None searches on the CPU.
        """
        self.dim = checks.check_dim(dim)
        self.metric = checks.check_metric(metric)
        self.config = config or IndexConfig()
        self._state = State(KeyTable(self.dim), None)
        self._last_id: int | None = None
        self._closed = False
        self._writing = threading.RLock()
        self._background = Background()
        self._rows_at_size_check = 0
        self._mirror = DeviceMirror(self.config, device) if device is not None else None

    # ------------------------------------------------------------------ writing

    def add(self, ids: Ids, keys: Floats) -> None:
        """Add keys; see the contract."""
        with self._writing:
            self._check_open()
            ids_N = checks.check_new_ids(ids, self._last_id)
            keys_ND = checks.check_keys(keys, self.dim, self.metric)
            checks.check_pairs(ids_N, keys_ND)
            if not len(ids_N):
                return
            self._state.table.append(ids_N, keys_ND)
            self._last_id = int(ids_N[-1])
            if self._mirror is not None:
                self._mirror.added(self._state.table, ids_N, keys_ND)
            self._encode_tail()
            self._rebuild_if_due()

    def remove(self, ids: Ids) -> None:
        """Remove keys; see the contract."""
        with self._writing:
            self._check_open()
            table = self._state.table
            ids_N = checks.check_distinct(ids)
            table.kill(table.rows_of(ids_N))
            if self._mirror is not None:
                self._mirror.removed(table, ids_N)
            self._rebuild_if_due()

    def _encode_tail(self) -> None:
        table, tier = self._state
        if tier is None:
            return
        waiting = table.count - tier.covered
        # A bulk load is due for a rebuild, which encodes it once and better.
        if waiting > self.config.tail and waiting <= max(BULK, tier.covered):
            tier.extend(table, table.count)

    def _rebuild_if_due(self) -> None:
        if self._background.busy:
            return
        reason = reason_to_rebuild(self.config, self._state) or self._reason_by_size()
        if reason is not None:
            self._start_rebuild(reason)

    def _reason_by_size(self) -> str | None:
        """Looking at every list's size takes a millisecond: done once per tenth of growth."""
        table, tier = self._state
        if tier is None or table.count < 1.1 * self._rows_at_size_check:
            return None
        self._rows_at_size_check = table.count
        return "imbalance" if is_imbalanced(self.config, tier) else None

    def _start_rebuild(self, reason: str) -> None:
        rebuild = Rebuild(self.config, self._state)
        job = Job(reason, rebuild.steps(), lambda: self._swap(rebuild))
        if self.config.background:
            self._background.start(job)
        else:
            self._background.run(job)

    def _swap(self, rebuild: Rebuild) -> None:
        with self._writing:
            if not self._closed:
                self._state = rebuild.finish()

    def rebuild(self) -> None:
        """Rebuild now and wait for it; removed keys leave memory when enough of them have gathered."""
        self.settle()
        self._check_open()
        self._start_rebuild("asked for")
        self._background.wait()

    def settle(self) -> None:
        """Wait until no background work is running or due."""
        self._background.wait()
        with self._writing:
            self._rebuild_if_due()
        self._background.wait()

    # ---------------------------------------------------------------- searching

    def search(self, queries: Floats, k: int, *, exact: bool = False) -> SearchResult:
        """Find the nearest keys; see the contract."""
        self._check_open()
        k = checks.check_k(k)
        queries_MD = checks.check_queries(queries, self.dim, self.metric)
        state = self._state
        shortlists = [Shortlist(state.table, self.metric, query_D) for query_D in queries_MD]
        if not exact and state.tier is not None:
            self._offer_likely(state, shortlists, queries_MD, k)
        self._offer_missing(state, shortlists, queries_MD, k)
        return pack_search([self._answer(state, *shortlist.best(k)) for shortlist in shortlists], k)

    def _offer_missing(self, state: State, shortlists: list[Shortlist], queries_MD: Floats, k: int) -> None:
        """Look at every key where there are fewer than k candidates: asked to, few keys, or removals left a hole."""
        wanted = min(k, state.table.live_count)
        short = [query for query, shortlist in enumerate(shortlists) if shortlist.offered < wanted]
        if short:
            candidates = exact.nearest(state.table, queries_MD[short], k, 0, state.table.count)
            for query, rows_C in zip(short, candidates, strict=True):
                shortlists[query].offer(rows_C)

    def _offer_likely(self, state: State, shortlists: list[Shortlist], queries_MD: Floats, k: int) -> None:
        table, tier = state
        assert tier is not None
        dead_share = 1.0 - table.live_count / max(1, table.count)
        with tier.lock.reading:
            covered = tier.covered
            if self._mirror is None:
                tier.propose(shortlists, queries_MD, dead_share, k)
        if self._mirror is not None:
            self._mirror.propose(table, shortlists, queries_MD, k)
        self._offer_tail(state, shortlists, queries_MD, covered, k)
        for shortlist, query_D in zip(shortlists, queries_MD, strict=True):
            shortlist.offer(tier.twins.rows_of(query_D))

    def _offer_tail(
        self, state: State, shortlists: list[Shortlist], queries_MD: Floats, covered: int, k: int
    ) -> None:
        """Offer the rows that are not encoded yet: all of a few, the nearest of many."""
        table = state.table
        end = table.count
        if covered == end:
            return
        if end - covered <= self.config.tail:
            tails = [np.arange(covered, end)] * len(shortlists)
        else:
            tails = exact.nearest(table, queries_MD, k, covered, end)
        for shortlist, rows_C in zip(shortlists, tails, strict=True):
            shortlist.offer(rows_C)

    def within(self, queries: Floats, radius: float) -> WithinResult:
        """Find all keys in a radius; see the contract."""
        self._check_open()
        radius = checks.check_radius(radius)
        queries_MD = checks.check_queries(queries, self.dim, self.metric)
        state = self._state
        answers = []
        for query_D, rows_C in zip(queries_MD, self._inside(state, queries_MD, radius), strict=True):
            shortlist = Shortlist(state.table, self.metric, query_D)
            shortlist.offer(rows_C)
            ids_H, distances_H = self._answer(state, *shortlist.best(None))
            answers.append((ids_H[distances_H <= radius], distances_H[distances_H <= radius]))
        return pack_within(answers)

    def _inside(self, state: State, queries_MD: Floats, radius: float) -> list[Rows]:
        """Rows that contain all within the radius: by certified bounds where they prune, else by every key."""
        table, tier = state
        squared = squared_radius(radius, self.metric)
        covered = 0
        found: list[Rows | None] = [None] * len(queries_MD)
        if tier is not None:
            with tier.lock.reading:
                covered = tier.covered
                found = [tier.within(query_D, float(np.sqrt(squared))) for query_D in queries_MD]
        beyond = exact.inside(table, queries_MD, squared, covered, table.count)
        unpruned = [query for query, rows_C in enumerate(found) if rows_C is None]
        scanned = dict(
            zip(unpruned, exact.inside(table, queries_MD[unpruned], squared, 0, covered), strict=True)
        )
        return [
            np.concatenate([scanned[query] if rows_C is None else rows_C, beyond[query]])
            for query, rows_C in enumerate(found)
        ]

    def _answer(self, state: State, rows_H: Rows, distances_H: Floats) -> tuple[Ids, Floats]:
        """Ids and distances; liveness has the last word, in the newest table if it was replaced meanwhile."""
        ids_H = state.table.ids_N[rows_H]
        current = self._state.table
        live_H = state.table.live_N[rows_H]
        if current is not state.table:
            live_H &= current.contains(ids_H)
        return ids_H[live_H], distances_H[live_H]

    # ------------------------------------------------------------------ looking

    def __len__(self) -> int:
        return self._state.table.live_count

    def __contains__(self, key_id: object) -> bool:
        if not isinstance(key_id, int | np.integer) or not 0 <= key_id < NO_ID:
            return False
        return bool(self._state.table.contains(np.array([key_id], np.uint64))[0])

    @property
    def ids(self) -> Ids:
        """The live ids, ascending."""
        table = self._state.table
        count = table.count
        return table.ids_N[:count][table.live_N[:count]]

    @property
    def last_id(self) -> int | None:
        """The greatest id ever added."""
        return self._last_id

    def keys_of(self, ids: Ids) -> Floats:
        """The full keys of live ids."""
        self._check_open()
        table = self._state.table
        return table.gather(table.rows_of(checks.as_ids(ids)))

    def stats(self) -> IndexStats:
        """What the index holds, how it answers and what it costs."""
        return describe(self._state, self._background)

    # ------------------------------------------------------------------ keeping

    def snapshot(self, path: Path | str, lsn: int) -> None:
        """Write a snapshot; see the contract. Writes are held off only while liveness and codes are copied."""
        with self._writing:
            self._check_open()
            capture = snapshot.Capture.of(self._state, self.metric, self._last_id, lsn)
        snapshot.write(Path(path), capture)

    @classmethod
    def load(
        cls, path: Path | str, config: IndexConfig | None = None, device: Device | None = None
    ) -> tuple[Self, int]:
        """Read a snapshot; see the contract."""
        config = config or IndexConfig()
        found = snapshot.read(Path(path), config)
        index = cls(found.header.dim, found.header.metric, config, device)
        index._state = found.state
        if index._mirror is not None:
            index._mirror.fill(found.state.table)
        index._last_id = found.header.last_id
        return index, found.header.lsn

    def close(self) -> None:
        """Stop background work and let go of the keys."""
        with self._writing:
            self._closed = True
        self._background.stop()
        self._mirror = None
        self._state = State(KeyTable(self.dim), None)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedIndexError("the index is closed")
