"""Which id lies in which device slot: appended at the end, the hole of a removal filled by the last."""

from typing import NamedTuple

import numpy as np

from sola_index.contract import Ids

# Shapes: N keys, S slots.
FIRST_SLOTS = 1024
GROWTH = 1.5


class Move(NamedTuple):
    """A slot to be copied onto another."""

    source: int
    target: int


class SlotMap:
    """The occupied slots are always the first ones, so a search needs no mask."""

    def __init__(self) -> None:
        self._ids_S: Ids = np.empty(0, np.uint64)
        self._slot_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def capacity(self) -> int:
        """Slots there is room for."""
        return len(self._ids_S)

    def room_for(self, more: int) -> int | None:
        """The capacity to grow to before ``more`` ids fit, or None when they fit already."""
        needed = len(self) + more
        if needed <= self.capacity:
            return None
        return max(needed, FIRST_SLOTS, int(self.capacity * GROWTH))

    def grow(self, capacity: int) -> None:
        """Make room."""
        ids_S = np.empty(capacity, np.uint64)
        ids_S[: len(self)] = self._ids_S[: len(self)]
        self._ids_S = ids_S

    def append(self, ids_N: Ids) -> int:
        """Give ids the next slots; returns the first of them."""
        start = len(self)
        self._ids_S[start : start + len(ids_N)] = ids_N
        for slot, key_id in enumerate(ids_N.tolist(), start):
            self._slot_of[key_id] = slot
        return start

    def remove(self, key_id: int) -> Move | None:
        """Free an id's slot; returns the move that keeps the occupied slots together, if one is needed."""
        hole = self._slot_of.pop(key_id)
        last = len(self._slot_of)
        if hole == last:
            return None
        moved = int(self._ids_S[last])
        self._ids_S[hole] = moved
        self._slot_of[moved] = hole
        return Move(last, hole)

    def ids_of(self, slots: np.ndarray) -> Ids:
        """Ids in occupied slots."""
        ids_N: Ids = self._ids_S[slots]
        return ids_N
