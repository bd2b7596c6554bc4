"""Stacked weights of the edits in flight, one slot each.

Shape legend: N slots, r rank, I inputs and O outputs of a linear map, S positions, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sola_scale.backbone.loading import Backbone
from sola_scale.lora.adapter import Adapter
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.optimizer import StackedOptimizer
from sola_scale.lora.training.starts import Starts
from sola_scale.lora.training.trainee import Trainee


class Slots:
    """Parameters ``A [N, r, d_in]`` and ``B [N, r, d_out]`` of every map, with their optimizer."""

    def __init__(
        self, backbone: Backbone, layout: AdapterLayout, config: TrainingConfig, starts: Starts
    ) -> None:
        self._config, self._starts = config, starts
        dtype = torch.promote_types(backbone.dtype, torch.float32)

        def stacked(width: int) -> Tensor:
            shape = (config.batch_size, layout.rank, width)
            return torch.zeros(shape, dtype=dtype, device=backbone.device, requires_grad=True)

        self.a_NrI = [stacked(one.d_in) for one in layout.modules]
        self.b_NrO = [stacked(one.d_out) for one in layout.modules]
        self._optimizer = StackedOptimizer([*self.a_NrI, *self.b_NrO], config)
        self._free = list(range(config.batch_size - 1, -1, -1))

    @property
    def free(self) -> int:
        """Number of empty slots."""
        return len(self._free)

    def enter(self, trainee: Trainee) -> int:
        """Give an edit a slot and its start."""
        slot = self._free.pop()
        scales_a, scales_b = [], []
        size = _root_mean_square(trainee.examples[0].prefix.hidden_SD)
        for which, (a_NrI, b_NrO) in enumerate(zip(self.a_NrI, self.b_NrO, strict=True)):
            start_rI = self._starts.of(trainee, which).to(a_NrI)
            with torch.no_grad():
                a_NrI[slot], b_NrO[slot] = start_rI, 0.0
            scales_a.append(trainee.rate * trainee.gate_rate * _root_mean_square(start_rI))
            scales_b.append(trainee.rate * size)
        self._optimizer.reset(slot, [*scales_a, *scales_b])
        return slot

    def leave(self, slot: int) -> None:
        """Empty a slot."""
        self._free.append(slot)

    def step(self) -> None:
        """Take one optimizer step."""
        self._optimizer.step()

    def forget(self) -> None:
        """Drop gradients of a step that nobody took."""
        for parameter in (*self.a_NrI, *self.b_NrO):
            parameter.grad = None

    def rows(self, slots_R: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return every row's own weights, for every map."""
        return [a.index_select(0, slots_R) for a in self.a_NrI], [
            b.index_select(0, slots_R) for b in self.b_NrO
        ]

    def adapter(self, slot: int, layout_index: int) -> Adapter:
        """Copy a slot's weights out, to the host, which encodes them."""
        return Adapter(
            layout_index=layout_index,
            a_rI=tuple(a[slot].detach().to("cpu", copy=True) for a in self.a_NrI),
            b_rO=tuple(b[slot].detach().to("cpu", copy=True) for b in self.b_NrO),
        )


def _root_mean_square(values: Tensor | Sequence[float]) -> float:
    return float(torch.as_tensor(values).float().square().mean().sqrt().clamp(min=1e-12))
