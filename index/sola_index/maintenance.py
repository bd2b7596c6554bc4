"""When the compressed tier is due for renewal, and how it is renewed while searches and writes go on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sola_index.compressed import CompressedTier
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Rows
from sola_index.lists import ListsTier, imbalance
from sola_index.scan import ScanTier
from sola_index.table import KeyTable

# Shapes: N rows, D dimensions, L lists.
CATCH_UP = 2048
"""Rows left to encode at which the swap is made, under the write lock of the index."""

BULK = 8192
"""Rows waiting to be encoded that are never worth a rebuild by themselves."""

PIECE = 16_384
"""Rows copied or encoded between two chances to stop."""

FEW_DEAD = 1024
"""Dead rows that are never worth a rebuild by themselves."""


class State(NamedTuple):
    """What a search looks at; replaced as one, so a reader that holds one is never torn."""

    table: KeyTable
    tier: CompressedTier | None


def tier_for(config: IndexConfig, rows: int) -> type[ScanTier | ListsTier] | None:
    """The tier that so many rows deserve; None is the exact flat one."""
    if rows < config.scan_from:
        return None
    return ScanTier if rows < config.lists_from else ListsTier


def reason_to_rebuild(config: IndexConfig, state: State) -> str | None:
    """Why the state should be rebuilt, or None."""
    table, tier = state
    rows, live = table.count, table.live_count
    dead = rows - live
    if dead > FEW_DEAD and dead > config.dead_share * rows:
        return "dead share"
    if tier is None:
        return "growth" if live >= config.scan_from else None
    if is_bulk(state):
        return "bulk load"
    known = tier.measures
    outgrown = isinstance(tier, ScanTier) and tier_for(config, live) is ListsTier
    if outgrown or live >= config.growth * known.trained_on:
        return "growth"
    if known.recent_error > config.drift * known.trained_error and rows > 1.05 * known.trained_on:
        return "drift"
    return None


def is_bulk(state: State) -> bool:
    """Whether so many rows wait to be encoded that a rebuild, which encodes all once and better, is the way."""
    table, tier = state
    return tier is not None and table.count - tier.covered > max(BULK, tier.covered)


def is_imbalanced(config: IndexConfig, tier: CompressedTier) -> bool:
    """Whether the lists have grown so unevenly that looking into them costs much more than after training."""
    return isinstance(tier, ListsTier) and imbalance(tier.sizes_L) > config.imbalance * tier.trained_imbalance


class Rebuild:
    """A new state made beside the old one, step by step; the last step is taken while writes are held off."""

    def __init__(self, config: IndexConfig, old: State, *, forget: bool = False) -> None:
        self.config = config
        self.old = old
        rows, live = old.table.count, old.table.live_count
        self._compacts = forget or rows - live > min(FEW_DEAD, config.dead_share * rows / 2)
        self._copied = 0
        self._sources: list[Rows] = []
        self.table = KeyTable(old.table.dim) if self._compacts else old.table
        self.tier: CompressedTier | None = None

    def steps(self) -> Iterator[None]:
        """Do the work piece by piece: copy, train, encode, then copy and encode what came meanwhile."""
        while self.copy_some(PIECE):
            yield
        self.train()
        yield
        while self.copy_some(PIECE) or self.encode_some(PIECE):
            yield

    def copy_some(self, most: int) -> bool:
        """Copy some live rows into the new table; False when there are none left."""
        start, end = self._copied, min(self._copied + most, self.old.table.count)
        if not self._compacts or start == end:
            return False
        rows_N = self.old.table.live_rows(start, end)
        self._sources.append(rows_N)
        self.table.append(self.old.table.ids_N[rows_N], self.old.table.gather(rows_N))
        self._copied = end
        return True

    def train(self) -> None:
        """Fit the new tier to an even sample of the live rows."""
        live = self.table.live_count
        kind = tier_for(self.config, live)
        if kind is not None:
            self.tier = kind.train(self.config, self._sample(), live)

    def _sample(self) -> Floats:
        table = self.table
        rows_N = table.live_rows(0, table.count)
        if len(rows_N) > self.config.sample:
            rng = np.random.default_rng(self.config.seed)
            rows_N = np.sort(rng.choice(rows_N, self.config.sample, replace=False))
        return table.gather(rows_N)

    def encode_some(self, most: int) -> bool:
        """Encode some rows; False when no more than `CATCH_UP` wait, or there is no tier to encode for."""
        if self.tier is None or self.table.count - self.tier.covered <= CATCH_UP:
            return False
        self.tier.extend(self.table, min(self.table.count, self.tier.covered + most))
        return True

    def finish(self) -> State:
        """Take over what happened meanwhile; the caller holds off writes."""
        while self.copy_some(1 << 20):
            pass
        if self._compacts:
            sources_N = np.concatenate([np.empty(0, np.int64), *self._sources])
            gone_N = np.flatnonzero(~self.old.table.live_N[sources_N])
            self.table.kill(gone_N)
        if self.tier is not None:
            self.tier.extend(self.table, self.table.count)
        return State(self.table, self.tier)
