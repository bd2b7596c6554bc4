"""The pager: brings the adapters that a batch needs onto the device, through the slots, and hands them over gathered.

Shape legend: F rows that fired, W numbers in one adapter.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from sola_scale.errors import CorruptRecordError
from sola_scale.histogram import Histogram
from sola_scale.lora.bank import SlotBank
from sola_scale.lora.fired import FiredAdapters, FiredGroup
from sola_scale.lora.landing import Landing
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.occupancy import PagerStats
from sola_scale.lora.payload import Plan, plan_of

Visit: TypeAlias = Callable[[int, memoryview], None]
Load: TypeAlias = Callable[[Sequence[int], Visit], None]
"""Shows the payload of each id to the visitor, in one read; an id whose payload is gone or damaged is left out."""

_NOWHERE = nullcontext()


@dataclass(slots=True)
class _Counters:
    hits: int = 0
    misses: int = 0
    overflows: int = 0
    page_in: Histogram = field(default_factory=Histogram)
    staging: Histogram = field(default_factory=Histogram)


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
        """Gather the adapters for ``(row, edit id)`` pairs, rows ascending.

        The look-up and the copy out of the slots are one step under the lock: a slot cannot be evicted or unmapped
        between the two, and afterwards the batch owns its copy.

        Returns:
            What fires, and the edit ids whose weights could not be had: their rows do not fire.
        """
        began = time.perf_counter()
        wanted = dict.fromkeys(edit_id for _, edit_id in fired)
        with self._lock:
            if self._side_stream is not None:
                torch.cuda.current_stream(self._device).wait_stream(self._side_stream)
            landings = self._bring(wanted, spill=True)
            held = [
                [
                    (row, edit_id)
                    for row, edit_id in fired
                    if edit_id in (bank if landing is None else landing)
                ]
                for bank, landing in zip(self._banks, landings, strict=True)
            ]
            groups = [
                self._group(bank, landing, rows)
                for bank, landing, rows in zip(self._banks, landings, held, strict=True)
                if rows
            ]
            self._counters.staging.add(time.perf_counter() - began)
        found = {edit_id for rows in held for _, edit_id in rows}
        return (FiredAdapters(groups) if groups else None), wanted.keys() - found

    def prefetch(self, ids: Iterable[int]) -> None:
        """Make edits resident ahead of a decision that may fire them; never evicts for more than fit at once."""
        wanted = list(dict.fromkeys(ids))
        with self._lock, self._beside():
            self._bring(wanted[: min(bank.room for bank in self._banks)], spill=False)

    def _beside(self) -> AbstractContextManager[object]:
        """Copy on the side stream, after what is queued already: a slot may still be read there."""
        if self._side_stream is None:
            return _NOWHERE
        self._side_stream.wait_stream(torch.cuda.current_stream(self._device))
        return torch.cuda.stream(self._side_stream)

    def unmap(self, ids: Iterable[int]) -> None:
        """Forget edits: when this returns no slot holds them."""
        with self._lock:
            for bank in self._banks:
                bank.unmap(ids)

    def pin(self, ids: Sequence[int]) -> set[int]:
        """Load edits and keep them resident; returns those that no slot was left for."""
        with self._lock:
            self._bring(dict.fromkeys(ids), spill=False)
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
                staging=self._counters.staging.snapshot(),
                evictions=sum(bank.evictions for bank in self._banks),
                resident=sum(len(bank) for bank in self._banks),
                capacity=sum(bank.capacity for bank in self._banks),
                slot_bytes=sum(bank.rows_SW.numel() * bank.rows_SW.element_size() for bank in self._banks),
            )

    def _bring(self, wanted: Collection[int], *, spill: bool) -> list[Landing | None]:
        """Make edits resident: the ones that are become the last to be evicted, the others are paged in.

        With ``spill``, an edit that finds every slot taken by the batch itself is kept beside the slots, in the
        landing of its bank; without, it is passed over.
        """
        missing = [edit_id for edit_id in wanted if not self._touch(edit_id)]
        self._counters.hits += len(wanted) - len(missing)
        return self._page_in(missing, wanted, spill=spill) if missing else [None] * len(self._banks)

    def _touch(self, edit_id: int) -> bool:
        """Mark an edit as just used, wherever it is resident; whether it is."""
        for bank in self._banks:  # noqa: SIM110 - a generator would cost as much as the look-ups
            if bank.touch(edit_id):
                return True
        return False

    def _page_in(self, missing: list[int], keep: Collection[int], *, spill: bool) -> list[Landing | None]:
        """Read, check, decode and copy to the device what is missing, evicting nothing that is to be kept."""
        began = time.perf_counter()
        landings: list[Landing | None] = [None] * len(self._banks)

        def visit(edit_id: int, payload: memoryview) -> None:
            plan = plan_of(payload)
            landing = landings[plan.layout_index] if plan.layout_index < len(landings) else None
            if landing is None:
                landing = landings[plan.layout_index] = self._landing(plan, len(missing), keep, spill=spill)
            landing.take(edit_id, plan, payload)

        try:
            self._load(missing, visit)
        finally:
            # What arrived whole stays, whatever became of the rest: a slot reserved and not settled would be lost.
            for landing in landings:
                if landing is not None:
                    landing.settle()
                    self._counters.overflows += len(landing.spilled)
        self._counters.misses += len(missing)
        self._counters.page_in.add((time.perf_counter() - began) / len(missing), len(missing))
        return landings

    def _landing(self, plan: Plan, count: int, keep: Collection[int], *, spill: bool) -> Landing:
        if plan.layout_index >= len(self._banks):
            raise CorruptRecordError(f"an adapter of layout {plan.layout_index}, of which there is none")
        return Landing(self._banks[plan.layout_index], count=count, keep=keep, spill=spill)

    def _group(self, bank: SlotBank, landing: Landing | None, fired: Sequence[tuple[int, int]]) -> FiredGroup:
        rows_F = torch.tensor([row for row, _ in fired], device=self._device)
        ids_F = [edit_id for _, edit_id in fired]
        adapters_FW = landing.gather(ids_F) if landing is not None and landing.spilled else bank.gather(ids_F)
        return FiredGroup(bank.layout, rows_F, adapters_FW)
