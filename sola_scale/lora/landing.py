"""Where the payloads of missing edits land: decoded straight into their slots, or into rows sent to the device at once.

Shape legend: F rows gathered, N rows sent, W numbers in one adapter.
"""

from collections.abc import Container, Sequence

import numpy as np
import torch
from torch import Tensor

from sola_scale.lora.bank import SlotBank
from sola_scale.lora.payload import Plan


class Landing:
    """The arrivals of one batch in one bank; `settle` makes them resident, `spilled_NW` holds what found no slot."""

    def __init__(self, bank: SlotBank, *, count: int, keep: Container[int], spill: bool) -> None:
        """Expect at most ``count`` payloads, evict no edit to ``keep``, and ``spill`` what finds no slot, or drop it."""
        self.bank = bank
        self.spilled: dict[int, int] = {}
        """Edit id → its row of ``spilled_NW``."""
        self.spilled_NW: Tensor | None = None
        self._count = count
        self._keep = keep
        self._spill = spill
        self._staged_NW: Tensor | None = None
        self._host_NW = np.empty((0, 0), np.float32)
        self._sent: list[tuple[int, int | None]] = []

    def __contains__(self, edit_id: int) -> bool:
        """Whether an edit is in a slot of the bank or beside it."""
        return edit_id in self.bank or edit_id in self.spilled

    def take(self, edit_id: int, plan: Plan, payload: memoryview) -> None:
        """Decode one payload, straight into a slot where the host can write there.

        Raises:
            CorruptRecordError: the payload does not fit the layout; then the slot is free again.
        """
        slot, host_SW = self.bank.reserve(self._keep), self.bank.host_SW
        if slot is None and not self._spill:
            return
        try:
            if slot is not None and host_SW is not None:
                plan.decode(payload, host_SW[slot])
                self.bank.occupy(edit_id, slot)
                return
            plan.decode(payload, self._stage()[len(self._sent)])
        except BaseException:
            if slot is not None:
                self.bank.give_back([slot])
            raise
        self._sent.append((edit_id, slot))

    def _stage(self) -> np.ndarray:
        """Host rows, pinned where the device copies asynchronously."""
        if self._staged_NW is None:
            bank = self.bank
            self._staged_NW = torch.empty(
                self._count, bank.layout.size, pin_memory=bank.rows_SW.device.type == "cuda"
            )
            self._host_NW = self._staged_NW.numpy()
        return self._host_NW

    def settle(self) -> None:
        """Send what was staged to the device, in one transfer, and into its slots."""
        if self._staged_NW is None or not self._sent:
            return
        bank, sent, self._sent = self.bank, self._sent, []
        rows_NW = self._staged_NW[: len(sent)].to(
            device=bank.rows_SW.device, dtype=bank.rows_SW.dtype, non_blocking=True
        )
        placed = [(place, edit_id, slot) for place, (edit_id, slot) in enumerate(sent) if slot is not None]
        if placed:
            places_N, slots_N = torch.tensor(
                [(place, slot) for place, _, slot in placed], device=rows_NW.device
            ).unbind(1)
            bank.rows_SW.index_copy_(0, slots_N, rows_NW.index_select(0, places_N))
        for _, edit_id, slot in placed:
            bank.occupy(edit_id, slot)
        self.spilled = {edit_id: place for place, (edit_id, slot) in enumerate(sent) if slot is None}
        self.spilled_NW = rows_NW

    def gather(self, ids_F: Sequence[int]) -> Tensor:
        """Copy the rows of edits ``[F, W]``, each from its slot or from what was spilled."""
        assert self.spilled_NW is not None
        beside_F = torch.tensor([edit_id in self.spilled for edit_id in ids_F], device=self.spilled_NW.device)
        rows_FW = self.spilled_NW.new_empty(len(ids_F), self.bank.layout.size)
        places = [self.spilled[edit_id] for edit_id in ids_F if edit_id in self.spilled]
        rows_FW[beside_F] = self.spilled_NW[places]
        rows_FW[~beside_F] = self.bank.gather([edit_id for edit_id in ids_F if edit_id not in self.spilled])
        return rows_FW
