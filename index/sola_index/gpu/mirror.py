"""The keys of an index on a device: candidates come from there, distances and the last word from the CPU."""

import threading

import numpy as np

from sola_index import exact
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Ids, Rows
from sola_index.gpu.clone import MOST_ANSWERS, Clone
from sola_index.gpu.device import Device
from sola_index.gpu.slots import SlotMap
from sola_index.shortlist import Shortlist, padded
from sola_index.table import KeyTable

# Shapes: M queries, N keys, D dimensions, K answers.


class DeviceMirror:
    """Live keys in device memory, or beyond a size an IVF clone of them; told of every add and removal."""

    def __init__(self, config: IndexConfig, device: Device) -> None:
        self._config = config
        self._device = device
        self._in_use = threading.Lock()
        self._slots = SlotMap()
        self._clone: Clone | None = None

    def fill(self, table: KeyTable) -> None:
        """Take the live rows of a table that was just loaded."""
        for block in table.blocks(0, table.count, 65_536):
            live_N = table.live_N[block.start : block.start + len(block.keys_ND)]
            ids_N = table.ids_N[block.start : block.start + len(block.keys_ND)]
            self.added(table, ids_N[live_N], block.keys_ND[live_N])

    def added(self, table: KeyTable, ids_N: Ids, keys_ND: Floats) -> None:
        """Put new keys on the device, unless it holds a clone: new rows wait on the CPU until it is made again."""
        with self._in_use:
            if self._clone is not None or len(self._slots) + len(ids_N) > self._config.device_flat:
                self._slots = SlotMap()
                self._refresh(table)
                return
            capacity = self._slots.room_for(len(ids_N))
            if capacity is not None:
                self._device.reserve(capacity, keys_ND.shape[1])
                self._slots.grow(capacity)
            self._device.write(self._slots.append(ids_N), keys_ND)

    def removed(self, table: KeyTable, ids_N: Ids) -> None:
        """Fill the holes with the last keys; a clone keeps its dead rows until it is made again."""
        with self._in_use:
            if self._clone is not None:
                self._refresh(table)
                return
            for key_id in ids_N.tolist():
                move = self._slots.remove(key_id)
                if move is not None:
                    self._device.move(move.source, move.target)

    def _refresh(self, table: KeyTable) -> None:
        if self._clone is None or self._clone.is_stale(table):
            self._device.reserve(0, table.dim)
            self._clone = Clone(self._device, table, self._config)

    def propose(self, shortlist: Shortlist, k: int) -> None:
        """Offer the device's nearest rows and, beside a clone, the nearest of the rows that it does not know."""
        table, queries_MD = shortlist.table, shortlist.queries_MD
        wanted = k + self._config.device_spare
        with self._in_use:
            clone = self._clone
            found = (
                padded(self._flat_rows(table, queries_MD, wanted))
                if clone is None
                else clone.nearest(queries_MD, wanted)
            )
        if clone is not None and clone.table is not table:
            return  # row numbers of another table: the caller looks at every key until the clone is made again
        shortlist.offer(found)
        if clone is not None and clone.covered < table.count:
            shortlist.offer(padded(exact.nearest(table, queries_MD, k, clone.covered, table.count)))

    def _flat_rows(self, table: KeyTable, queries_MD: Floats, k: int) -> list[Rows]:
        count = len(self._slots)
        if not count:
            return [np.empty(0, np.int64)] * len(queries_MD)
        slots_MK = self._device.nearest(count, queries_MD, min(k, count, MOST_ANSWERS))
        return [table.known_rows(self._slots.ids_of(slots_K)) for slots_K in slots_MK]
