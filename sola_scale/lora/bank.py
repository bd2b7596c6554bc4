"""The slot bank: adapters of one layout resident on the device, an LRU cache of slots by edit id.

A slot is one contiguous row that holds a whole adapter, ``A`` and ``B`` of every map one after the other, so that
filling a slot is one write and gathering a batch is one ``index_select``.

Shape legend: S slots, F rows gathered, N rows filled, W numbers in one adapter.
"""

import contextlib
import mmap
from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from sola_scale.lora.layout import AdapterLayout


class SlotBank:
    """Rows of one layout. Not locked: the pager that owns it is."""

    def __init__(
        self, layout: AdapterLayout, *, capacity: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Reserve ``capacity`` slots; on a CPU the memory is only touched as slots are filled."""
        self.layout = layout
        self.capacity = capacity
        self.rows_SW = _reserved(capacity, layout.size, device, dtype)
        on_host = device.type == "cpu" and dtype == torch.float32
        self.host_SW: np.ndarray | None = self.rows_SW.numpy() if on_host else None
        """The same memory where the host can decode into it; None where rows must be sent."""
        self._slots: OrderedDict[int, int] = OrderedDict()
        self._free = list(range(capacity - 1, -1, -1))
        self._pinned: set[int] = set()
        self.evictions = 0

    def __contains__(self, edit_id: int) -> bool:
        return edit_id in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def resident(self) -> list[int]:
        """Ids of the resident edits, the least recently used first."""
        return list(self._slots)

    def touch(self, edit_id: int) -> bool:
        """Mark an edit as just used; whether it is resident."""
        if edit_id not in self._slots:
            return False
        self._slots.move_to_end(edit_id)
        return True

    def gather(self, ids_F: Sequence[int]) -> Tensor:
        """Copy the rows of resident edits out of the bank ``[F, W]``."""
        slots_F = torch.tensor([self._slots[edit_id] for edit_id in ids_F], device=self.rows_SW.device)
        return self.rows_SW.index_select(0, slots_F)

    def reserve(self, keep: Container[int]) -> int | None:
        """Take a slot, from the least recently used unpinned edit if none is free; never from one to ``keep``."""
        if self._free:
            return self._free.pop()
        # The edits to keep were used last: once the search comes to one of them there is nobody else.
        victim = next((edit_id for edit_id in self._slots if edit_id not in self._pinned), None)
        if victim is None or victim in keep:
            return None
        self.evictions += 1
        return self._slots.pop(victim)

    def give_back(self, slots: Iterable[int]) -> None:
        """Free slots that were reserved and not filled."""
        self._free.extend(slots)

    def occupy(self, edit_id: int, slot: int) -> None:
        """Make an edit resident in the slot that was reserved and filled for it."""
        self._slots[edit_id] = slot

    @property
    def room(self) -> int:
        """How many edits can be made resident at once: all slots but the pinned ones."""
        return self.capacity - len(self._pinned)

    def unmap(self, ids: Iterable[int]) -> None:
        """Forget edits; their slots are free, and overwritten whole by whoever gets them."""
        for edit_id in ids:
            self._pinned.discard(edit_id)
            slot = self._slots.pop(edit_id, None)
            if slot is not None:
                self._free.append(slot)

    def pin(self, ids: Iterable[int]) -> None:
        """Keep resident edits from eviction."""
        self._pinned.update(edit_id for edit_id in ids if edit_id in self._slots)

    def is_pinned(self, edit_id: int) -> bool:
        """Whether an edit is kept from eviction."""
        return edit_id in self._pinned

    def unpin(self, ids: Iterable[int]) -> None:
        """Let edits be evicted again."""
        self._pinned.difference_update(ids)


def _reserved(slots: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Uninitialised rows ``[S, W]``; on a Linux host in pages of 2 MiB where the system has them.

    A slot spans seven pages of 4 KiB on the default model, and each costs a page fault when it is first filled.
    """
    if device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(slots, width, device=device, dtype=dtype)
    size = slots * width * dtype.itemsize
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # of a kernel built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(slots, width)
