"""Heterogeneous apply: every fired row of a batch through its own adapter, no loop over edits.

The adapters of a batch are gathered once, when its route is decided, and stay with the sequence for all its decode
steps: a step pays two batched products and no gather, and whatever happens to the slots meanwhile cannot touch it.

Shape legend: F rows that fired, T token positions, r rank, I inputs, O outputs, W numbers in one adapter.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sola_scale.backbone import ForwardCall
from sola_scale.lora.layout import AdapterLayout


class FiredGroup:
    """The fired rows of a batch whose adapters share one layout."""

    def __init__(self, layout: AdapterLayout, rows_F: Tensor, adapters_FW: Tensor) -> None:
        self.rows_F = rows_F
        self._positions_F: Tensor | None = None
        self._maps: dict[str, tuple[Tensor, Tensor]] = {}
        start = 0
        for module in layout.modules:
            middle, stop = (
                start + layout.rank * module.d_in,
                start + layout.rank * (module.d_in + module.d_out),
            )
            down_FrI = adapters_FW[:, start:middle].reshape(-1, layout.rank, module.d_in)
            up_FrO = adapters_FW[:, middle:stop].reshape(-1, layout.rank, module.d_out)
            self._maps[module.path] = (down_FrI.transpose(1, 2).contiguous(), up_FrO.contiguous())
            start = stop

    def bound(self, positions: Mapping[int, int]) -> None:
        """Let each row's adapter act at no more than so many positions, the last of the prompt being the first."""
        bounds = [positions[row] for row in self.rows_F.tolist()]
        self._positions_F = torch.tensor(bounds, device=self.rows_F.device)

    def apply(self, module: str, call: ForwardCall, input_BTI: Tensor, output_BTO: Tensor) -> None:
        """Add this group's deltas into ``output_BTO``, in place, on its rows and from the last prompt token on."""
        if module not in self._maps:
            return
        down_FIr, up_FrO = self._maps[module]
        rows_F = self.rows_F
        if call.prefill:
            columns_F = call.prompt_columns(rows_F)
            delta_F1O = torch.bmm(torch.bmm(input_BTI[rows_F, columns_F].unsqueeze(1), down_FIr), up_FrO)
            output_BTO[rows_F, columns_F] += delta_F1O.squeeze(1)
            return
        if len(rows_F) == len(output_BTO):
            self._apply_whole(call, input_BTI, output_BTO, down_FIr, up_FrO)
            return
        chosen_FTO = output_BTO.index_select(0, rows_F)
        self._apply_whole(call, input_BTI.index_select(0, rows_F), chosen_FTO, down_FIr, up_FrO)
        output_BTO.index_copy_(0, rows_F, chosen_FTO)

    def _apply_whole(
        self, call: ForwardCall, input_FTI: Tensor, output_FTO: Tensor, down_FIr: Tensor, up_FrO: Tensor
    ) -> None:
        """Add the deltas where every given row fired."""
        reach_FT = call.reach(self.rows_F, self._positions_F)
        hidden_FTr = torch.bmm(input_FTI, down_FIr)
        if reach_FT is None:
            output_FTO.baddbmm_(hidden_FTr, up_FrO)
            return
        edited_FTO = torch.baddbmm(output_FTO, hidden_FTr, up_FrO)
        # Selected, not multiplied by a mask: positions out of reach keep the base model's bits.
        output_FTO.copy_(torch.where(reach_FT.unsqueeze(-1), edited_FTO, output_FTO))


class FiredAdapters:
    """All that fires in one batch, one group a layout."""

    def __init__(self, groups: Sequence[FiredGroup]) -> None:
        self.groups = tuple(groups)
        self.rows_F = torch.cat([group.rows_F for group in self.groups]).sort().values

    def bound(self, positions: Mapping[int, int]) -> None:
        """Let the adapter of each row, named by its number in the batch, act at no more than so many positions."""
        for group in self.groups:
            group.bound(positions)

    def apply(self, module: str, call: ForwardCall, input_BTI: Tensor, output_BTO: Tensor) -> None:
        """Add the deltas of ``module`` into ``output_BTO``, in place."""
        for group in self.groups:
            group.apply(module, call, input_BTI, output_BTO)
