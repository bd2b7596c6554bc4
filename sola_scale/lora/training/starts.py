"""Where an edit's ``A`` starts from; ``B`` starts at zero, so that training begins at the base model.

Shape legend: r rank, I inputs of a map.
"""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.gates import Gates
from sola_scale.lora.training.ground import Ground
from sola_scale.lora.training.trainee import Trainee


class Starts:
    """Chooses the first ``A`` of every map. It depends on the edit's own text and the model, never on batch mates."""

    def __init__(self, layout: AdapterLayout, config: TrainingConfig, ground: Ground) -> None:
        self._layout, self._config = layout, config
        self._gates = Gates(ground.variation) if config.start == "gates" else None

    def of(self, trainee: Trainee, which: int) -> Tensor:
        """Return ``[r, I]`` for one map."""
        inputs = [example.prefix.inputs_SI[which] for example in trainee.examples]
        if self._gates is not None:
            positions = deal(trainee.hardest, maps=len(self._layout.modules), rank=self._layout.rank)[which]
            return self._gates.solve(which, inputs, positions).float()
        noise_rI = self._noise(trainee, which)
        if self._config.start == "random":
            return noise_rI
        mean_I = torch.cat([one.float() for one in inputs]).mean(dim=0).cpu()
        length = float(mean_I.norm().clamp(min=1e-6))
        # Rows of one length, so that a typical input makes an output of about one, whatever the model.
        rows_rI: Tensor = noise_rI / length
        rows_rI[0] = mean_I / length**2
        return rows_rI

    def _noise(self, trainee: Trainee, which: int) -> Tensor:
        text = f"{self._config.seed}\0{which}\0{trainee.job.prompt}\0{trainee.job.target}"
        generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        width = self._layout.modules[which].d_in
        noise_rI: Tensor = torch.randn((self._layout.rank, width), generator=generator) / width**0.5
        return noise_rI


def deal(positions: Sequence[int], *, maps: int, rank: int) -> list[list[int]]:
    """Deal positions out to the rows of the maps in turn, the first ones first; return those of each map.

    No map gets a position twice before it has them all: equal rows have equal gradients and would stay one row for ever.
    """
    dealt: list[list[int]] = [[] for _ in range(maps)]
    for turn in range(maps * rank):
        own = dealt[turn % maps]
        offered = [positions[(turn + further) % len(positions)] for further in range(len(positions))]
        own.append(next((one for one in offered if one not in own), offered[0]))
    return dealt
