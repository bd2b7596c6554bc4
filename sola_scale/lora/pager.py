"""The pager: brings the adapters that a batch needs onto the device, through the slots, and hands them over gathered.

Shape legend: F rows that fired, N distinct edits, W numbers in one adapter.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sola_scale.histogram import Histogram, Latencies
from sola_scale.lora.bank import SlotBank
from sola_scale.lora.codec import decode_row, payload_class
from sola_scale.lora.fired import FiredAdapters, FiredGroup
from sola_scale.lora.layout import AdapterLayout

Visit: TypeAlias = Callable[[int, memoryview], None]
Load: TypeAlias = Callable[[Sequence[int], Visit], None]
"""Shows the payload of each id to the visitor, in one read; an id whose payload is gone or damaged is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerStats:
    """What the slots have been doing."""

    hits: int
    """Distinct edits of a batch that were resident."""
    misses: int
    """Distinct edits of a batch that were read from the store."""
    evictions: int
    """Edits that gave their slot to another."""
    overflows: int
    """Edits of a batch that found every slot taken by the batch itself: used from the staging buffer, not kept."""
    resident: int
    """Edits in a slot now."""
    capacity: int
    """Slots in all."""
    slot_bytes: int
    """Device memory that the slots take when all are filled."""
    page_in: Latencies
    """Time to bring one missing edit in: read, check, decode, copy."""


@dataclass(slots=True)
class _Counters:
    hits: int = 0
    misses: int = 0
    overflows: int = 0
    page_in: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class _Parts:
    """Gathered rows of one layout, and whose they are."""

    ids: list[int] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)

    def add(self, ids: list[int], rows_NW: Tensor) -> None:
        self.ids += ids
        self.rows.append(rows_NW)


class _Staging:
    """Host rows that payloads are decoded into, pinned where the device copies asynchronously."""

    def __init__(self, size: int, count: int, device: torch.device) -> None:
        self.ids: list[int] = []
        self._rows_NW = torch.empty(count, size, pin_memory=device.type == "cuda")
        self._host_NW = self._rows_NW.numpy()

    def take(self, edit_id: int, payload: memoryview) -> None:
        """Decode one payload; only a whole one counts."""
        decode_row(payload, self._host_NW[len(self.ids)])
        self.ids.append(edit_id)

    def to(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Copy what arrived to the device, in one transfer."""
        return self._rows_NW[: len(self.ids)].to(device=device, dtype=dtype, non_blocking=True)


class Pager:
    """The slot banks of an editor, one a layout, behind one lock."""

    def __init__(
        self,
        layouts: Sequence[AdapterLayout],
        load: Load,
        *,
        memory: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Share ``memory`` bytes of slots evenly among the layouts; each gets one slot at least."""
        share = memory // len(layouts)
        size = torch.empty((), dtype=dtype).element_size()
        self._banks = [
            SlotBank(layout, capacity=max(1, share // (layout.size * size)), device=device, dtype=dtype)
            for layout in layouts
        ]
        self._load = load
        self._device = device
        self._lock = threading.Lock()
        # Prefetched rows are copied beside the layers under way.
        self._side_stream: Any = (
            torch.get_device_module(device).Stream(device) if device.type == "cuda" else None
        )
        self._counters = _Counters()

    def fetch(self, fired: Sequence[tuple[int, int]]) -> tuple[FiredAdapters | None, set[int]]:
        """Gather the adapters for ``(row, edit id)`` pairs.

        The look-up and the copy out of the slots are one step under the lock: a slot cannot be evicted or unmapped
        between the two, and afterwards the batch owns its copy.

        Returns:
            What fires, and the edit ids whose weights could not be had: their rows do not fire.
        """
        wanted = list(dict.fromkeys(edit_id for _, edit_id in fired))
        with self._lock:
            if self._side_stream is not None:
                torch.cuda.current_stream(self._device).wait_stream(self._side_stream)
            gathered = self._gather(wanted)
        groups = [
            group
            for bank, parts in zip(self._banks, gathered, strict=True)
            if (group := self._group(bank.layout, parts, fired)) is not None
        ]
        found = {edit_id for parts in gathered for edit_id in parts.ids}
        return (FiredAdapters(groups) if groups else None), set(wanted) - found

    def prefetch(self, ids: Iterable[int]) -> None:
        """Make edits resident ahead of a decision that may fire them; never evicts for more than fit at once."""
        wanted = list(dict.fromkeys(ids))
        with self._lock, self._beside():
            self._gather(wanted[: min(bank.room for bank in self._banks)])

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """Copy on the side stream, after what is queued already: a slot may still be read there."""
        if self._side_stream is None:
            yield
            return
        self._side_stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side_stream):
            yield

    def unmap(self, ids: Iterable[int]) -> None:
        """Forget edits: when this returns no slot holds them."""
        with self._lock:
            for bank in self._banks:
                bank.unmap(ids)

    def pin(self, ids: Sequence[int]) -> set[int]:
        """Load edits and keep them resident; returns those that no slot was left for."""
        with self._lock:
            self._gather(list(ids))
            for bank in self._banks:
                bank.pin([edit_id for edit_id in ids if edit_id in bank][: max(0, bank.room - 1)])
            return {edit_id for edit_id in ids if not any(bank.is_pinned(edit_id) for bank in self._banks)}

    def unpin(self, ids: Iterable[int]) -> None:
        """Let edits be evicted again."""
        with self._lock:
            for bank in self._banks:
                bank.unpin(ids)

    def resident(self) -> list[int]:
        """Ids of the edits that have a slot."""
        with self._lock:
            return [edit_id for bank in self._banks for edit_id in bank.resident]

    def stats(self) -> PagerStats:
        """Return the counters and the occupancy."""
        with self._lock:
            return PagerStats(
                hits=self._counters.hits,
                misses=self._counters.misses,
                overflows=self._counters.overflows,
                page_in=self._counters.page_in.snapshot(),
                evictions=sum(bank.evictions for bank in self._banks),
                resident=sum(len(bank) for bank in self._banks),
                capacity=sum(bank.capacity for bank in self._banks),
                slot_bytes=sum(bank.rows_SW.numel() * bank.rows_SW.element_size() for bank in self._banks),
            )

    def _gather(self, wanted: list[int]) -> list[_Parts]:
        """Return the rows of edits, by layout: residents first, for storing the others may evict them."""
        gathered = [_Parts() for _ in self._banks]
        for bank, parts in zip(self._banks, gathered, strict=True):
            here = [edit_id for edit_id in wanted if edit_id in bank]
            if here:
                parts.add(here, bank.gather(here))
                self._counters.hits += len(here)
        missing = [edit_id for edit_id in wanted if not any(edit_id in bank for bank in self._banks)]
        if missing:
            self._page_in(missing, gathered)
        return gathered

    def _page_in(self, ids: list[int], gathered: list[_Parts]) -> None:
        """Read, decode and copy to the device; as many as there is room for stay in a slot, the rest pass by."""
        began = time.perf_counter()
        staged: dict[int, _Staging] = {}

        def visit(edit_id: int, payload: memoryview) -> None:
            which = payload_class(payload)
            if which not in staged:
                staged[which] = _Staging(self._banks[which].layout.size, len(ids), self._device)
            staged[which].take(edit_id, payload)

        self._load(ids, visit)
        for which, staging in staged.items():
            bank = self._banks[which]
            rows_NW = staging.to(self._device, bank.rows_SW.dtype)
            gathered[which].add(staging.ids, rows_NW)
            bank.store(staging.ids[: bank.room], rows_NW[: bank.room])
            self._counters.overflows += max(0, len(staging.ids) - bank.room)
        self._counters.misses += len(ids)
        self._counters.page_in.add((time.perf_counter() - began) / len(ids), len(ids))

    def _group(
        self, layout: AdapterLayout, parts: _Parts, fired: Sequence[tuple[int, int]]
    ) -> FiredGroup | None:
        place = {edit_id: index for index, edit_id in enumerate(parts.ids)}
        chosen = [(row, place[edit_id]) for row, edit_id in fired if edit_id in place]
        if not chosen:
            return None
        rows_F, places_F = torch.tensor(chosen, device=self._device).unbind(1)
        return FiredGroup(layout, rows_F, torch.cat(parts.rows).index_select(0, places_F))
