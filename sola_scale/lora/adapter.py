"""One edit's weights in the clear.

Shape legend: r rank, I inputs and O outputs of a linear map.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sola_scale.lora.layout import AdapterLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The low-rank change of every map of a layout; any scaling is folded into the numbers."""

    layout_index: int
    """Which of a store's layouts this is an adapter of."""
    a_rI: tuple[Tensor, ...]
    """By map, the down projection, float32 ``[r, d_in]``."""
    b_rO: tuple[Tensor, ...]
    """By map, the up projection, float32 ``[r, d_out]``, rank first like ``a_rI``."""

    @property
    def rank(self) -> int:
        """Rank of every change."""
        return int(self.a_rI[0].shape[0])

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``(A, B)`` of every map."""
        return zip(self.a_rI, self.b_rO, strict=True)

    def delta(self, which: int, x: Tensor) -> Tensor:
        """Return what the adapter adds to map ``which`` for inputs ``[..., d_in]``: ``(x A^T) B``."""
        return (x.to(self.a_rI[which].dtype) @ self.a_rI[which].T) @ self.b_rO[which]

    def fits(self, layout: AdapterLayout) -> bool:
        """Tell whether the shapes are those of ``layout``."""
        shapes = [((layout.rank, module.d_in), (layout.rank, module.d_out)) for module in layout.modules]
        return shapes == [(tuple(a.shape), tuple(b.shape)) for a, b in self.pairs()]

    def balanced(self) -> "Adapter":
        """Return the same change with ``A`` and ``B`` of equal norm row by row, which suits narrow number formats."""
        scaled = [_balance(a, b) for a, b in self.pairs()]
        return Adapter(
            layout_index=self.layout_index, a_rI=tuple(a for a, _ in scaled), b_rO=tuple(b for _, b in scaled)
        )


def _balance(a_rI: Tensor, b_rO: Tensor) -> tuple[Tensor, Tensor]:
    norms_a, norms_b = a_rI.norm(dim=1, keepdim=True), b_rO.norm(dim=1, keepdim=True)
    alive = (norms_a > 0) & (norms_b > 0)
    factor_r1 = torch.where(alive, (norms_b / norms_a.clamp(min=1e-30)).sqrt(), torch.ones_like(norms_a))
    return a_rI * factor_r1, torch.where(alive, b_rO / factor_r1.clamp(min=1e-30), b_rO)
