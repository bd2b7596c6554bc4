"""What other wordings do to the answers of gates, drawn at random.

A gate answers 1 at its position and 0 at the others; after another wording of the prompt it answers more or less, and
the gates of one position in part together. Training does as much to them at random, in every step, so that what an edit
says does not hang on the very answers that one prompt gives.

Shape legend: P patterns, L positions of a pattern, R rows, S positions of a step, M maps, r rank.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.suffix import SuffixBatch
from sola_scale.lora.layout import AdapterLayout

# A prime: draws that grow by steady amounts come to every pattern. Answers longer than a pattern meet it again.
_PATTERNS = 1021
_POSITIONS = 16
# What share of their answers the gates of a position give together, drawn evenly (``docs/design/training.md``).
_GAINS = (0.7, 1.1)


class GateNoise:
    """Patterns of normal noise, drawn once for a layout: what a number picks is the same whatever the batch."""

    def __init__(self, backbone: Backbone, layout: AdapterLayout, size: float) -> None:
        """``size``: standard deviation of what is added."""
        generator = torch.Generator().manual_seed(_PATTERNS)
        shape = (_PATTERNS, _POSITIONS, len(layout.modules), layout.rank)
        more_PLMr = torch.randn(shape, generator=generator, dtype=torch.float64) * size
        low, high = _GAINS
        drawn_PLM1 = torch.rand((*shape[:3], 1), generator=generator, dtype=torch.float64)
        # One more pattern, of nothing, for rows that draw none.
        self._more_PLMr = self._kept(backbone, more_PLMr, 0.0)
        self._gain_PLM1 = self._kept(backbone, low + (high - low) * drawn_PLM1, 1.0)

    def add(self, batch: SuffixBatch, draws: Sequence[int | None]) -> SuffixBatch:
        """Return a batch with the noise that each row has drawn, none where its draw is None."""
        device = self._more_PLMr.device
        drawn_R = torch.tensor(
            [_PATTERNS if one is None else one % _PATTERNS for one in draws], device=device
        )
        places_S = torch.arange(batch.hidden_RSD.shape[1], device=device) % _POSITIONS
        gain_MRS1, more_MRSr = (
            table.index_select(0, drawn_R).index_select(1, places_S).unbind(2)
            for table in (self._gain_PLM1, self._more_PLMr)
        )
        return dataclasses.replace(batch, noise_RSr=tuple(zip(gain_MRS1, more_MRSr, strict=True)))

    @staticmethod
    def _kept(backbone: Backbone, table_PLMr: Tensor, nothing: float) -> Tensor:
        together_PLMr = torch.cat([table_PLMr, torch.full_like(table_PLMr[:1], nothing)])
        return together_PLMr.to(backbone.device, torch.promote_types(backbone.dtype, torch.float32))
