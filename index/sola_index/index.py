"""The index: one object whose tiers change with the number of keys without the caller noticing."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from sola_index import checks, snapshot
from sola_index.answers import answer, pack_within
from sola_index.background import Background, Job
from sola_index.config import IndexConfig
from sola_index.contract import NO_ID, Floats, Ids, Metric, NearestKeyIndex, SearchResult, WithinResult
from sola_index.distances import squared_radius
from sola_index.errors import ClosedIndexError
from sola_index.gpu.device import Device
from sola_index.gpu.mirror import DeviceMirror
from sola_index.maintenance import Rebuild, State, is_bulk, is_imbalanced, reason_to_rebuild
from sola_index.searching import Searcher
from sola_index.selftest import measure_recall
from sola_index.shortlist import Shortlist
from sola_index.stats import IndexStats, describe
from sola_index.table import KeyTable

# Shapes: M queries, N keys, D dimensions, K answers a query, H hits.


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
        self._rows_at_self_test = 0
        self._recall: float | None = None
        self._acceptable_recall = 0.0
        self._mirror = DeviceMirror(self.config, device) if device is not None else None
        self._searcher = Searcher(self.config, self.metric, self._mirror)

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
        if waiting > self.config.tail and not is_bulk(self._state):
            tier.extend(table, table.count)

    def _rebuild_if_due(self) -> None:
        if not self._background.ready:
            return
        reason = reason_to_rebuild(self.config, self._state) or self._reason_by_size()
        if reason is None and self._recall is not None and self._recall < self._acceptable_recall:
            reason = "recall"
        if reason is not None:
            self._start_rebuild(reason)
        elif self._state.tier is not None and len(self) > 1.25 * self._rows_at_self_test:
            self._run(Job("self-test", self._self_test(), lambda: None, is_rebuild=False))

    def _reason_by_size(self) -> str | None:
        """Looking at every list's size takes a millisecond: done once per tenth of growth."""
        table, tier = self._state
        if tier is None or table.count < 1.1 * self._rows_at_size_check:
            return None
        self._rows_at_size_check = table.count
        return "imbalance" if is_imbalanced(self.config, tier) else None

    def _self_test(self) -> Iterator[None]:
        self._rows_at_self_test = len(self)
        recall = measure_recall(self._searcher, self._state, self.metric, self.config.seed)
        if self._recall is None:
            # What a fresh tier reaches on keys that are hard by nature is no reason to train it again and again.
            self._acceptable_recall = min(self.config.least_recall, recall - 0.1)
        self._recall = recall
        yield

    def _start_rebuild(self, reason: str, *, forget: bool = False) -> None:
        self._recall = None
        rebuild = Rebuild(self.config, self._state, forget=forget)
        self._run(Job(reason, rebuild.steps(), lambda: self._swap(rebuild)))

    def _run(self, job: Job) -> None:
        if self.config.background:
            self._background.start(job)
        else:
            self._background.run(job)

    def _swap(self, rebuild: Rebuild) -> None:
        with self._writing:
            if not self._closed:
                self._state = rebuild.finish()

    def rebuild(self, *, forget: bool = False) -> None:
        """Rebuild now and wait for it.

        Args:
            forget: copy the live rows together however few are dead: no byte of a removed key is left in the index
                afterwards, nor on disk after the next snapshot.
        """
        started = False
        while not started:
            self._background.wait()
            with self._writing:
                self._check_open()
                if not self._background.busy:
                    self._start_rebuild("asked for", forget=forget)
                    started = True
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
        find = self._searcher.exact if exact else self._searcher.likely
        ranks_MK = find(state, queries_MD, k)
        return answer(state.table, self._state.table, ranks_MK)

    def within(self, queries: Floats, radius: float) -> WithinResult:
        """Find all keys in a radius; see the contract."""
        self._check_open()
        radius = checks.check_radius(radius)
        queries_MD = checks.check_queries(queries, self.dim, self.metric)
        state = self._state
        candidates = self._searcher.inside(state, queries_MD, squared_radius(radius, self.metric))
        hits = []
        for query_D, rows_C in zip(queries_MD, candidates, strict=True):
            shortlist = Shortlist(state.table, self.metric, query_D[None])
            shortlist.offer(rows_C[None])
            found = answer(state.table, self._state.table, shortlist.best(None))
            inside_1C = (found.ids != NO_ID) & (found.distances <= radius)
            hits.append((found.ids[inside_1C], found.distances[inside_1C]))
        return pack_within(hits)

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
        return table.ids_N[table.live_rows(0, table.count)]

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
        return describe(self._state, self._background, self._recall)

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
