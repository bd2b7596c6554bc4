"""What other wordings do to the answers of gates, drawn at random.

A gate answers 1 at its position and 0 at the others; after another wording of the prompt it answers a little more or
less. Training adds as much at random, in every step, so that what an edit says does not hang on the very answers that
one prompt gives.

Shape legend: P patterns, L positions of a pattern, R rows, S positions of a step, M maps, r rank.
"""

import dataclasses
from collections.abc import Sequence

import torch

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.suffix import SuffixBatch
from sola_scale.lora.layout import AdapterLayout

# A prime: draws that grow by steady amounts come to every pattern. Answers longer than a pattern meet it again.
_PATTERNS = 1021
_POSITIONS = 16


class GateNoise:
    """Patterns of normal noise, drawn once for a layout: what a number picks is the same whatever the batch."""

    def __init__(self, backbone: Backbone, layout: AdapterLayout, size: float) -> None:
        """``size``: the noise's standard deviation."""
        generator = torch.Generator().manual_seed(_PATTERNS)
        shape = (_PATTERNS, _POSITIONS, len(layout.modules), layout.rank)
        table_PLMr = torch.randn(shape, generator=generator, dtype=torch.float64) * size
        # One more pattern, of nothing, for rows that draw none.
        together_PLMr = torch.cat([table_PLMr, torch.zeros_like(table_PLMr[:1])])
        dtype = torch.promote_types(backbone.dtype, torch.float32)
        self._table_PLMr = together_PLMr.to(backbone.device, dtype)

    def add(self, batch: SuffixBatch, draws: Sequence[int | None]) -> SuffixBatch:
        """Return a batch with the noise that each row has drawn, none where its draw is None."""
        device = self._table_PLMr.device
        drawn_R = torch.tensor(
            [_PATTERNS if one is None else one % _PATTERNS for one in draws], device=device
        )
        places_S = torch.arange(batch.hidden_RSD.shape[1], device=device) % _POSITIONS
        noise_RSMr = self._table_PLMr.index_select(0, drawn_R).index_select(1, places_S)
        return dataclasses.replace(batch, noise_RSr=noise_RSMr.unbind(2))
