"""Whitening: the leading directions of several views, scaled to unit variance, which encoders are fitted on.

Shape legend: N texts, V views, D residual width, E views read, P directions kept of a view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sola_scale.keys.encoder import project
from sola_scale.keys.scorer import Floats

DIRECTIONS = 80
"""Directions kept of a view: the further ones are noise to a question."""
_FARTHEST = 99
"""Outliers are cut off here, that half precision holds them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whitening:
    """The leading directions of some views, scaled to unit variance."""

    places: tuple[int, ...]
    """The views, by their place on the view axis."""
    centre_ED: Floats
    """Their means."""
    matrix_EDP: Floats
    """Their directions."""

    @staticmethod
    def of(views_NVD: NDArray[np.floating], places: Sequence[int], *, sample: int = 20_000) -> "Whitening":
        """Principal directions of each view, of an even sample of the texts."""
        chosen_NVD = views_NVD[:: max(1, len(views_NVD) // sample)]
        centres, matrices = [], []
        for place in places:
            wide_ND = chosen_NVD[:, place].astype(np.float64)
            values_D, vectors_DD = np.linalg.eigh(np.cov(wide_ND.T))
            leading = np.argsort(-values_D)[:DIRECTIONS]
            centres.append(wide_ND.mean(axis=0))
            matrices.append(vectors_DD[:, leading] / np.sqrt(np.maximum(values_D[leading], 1e-6)))
        return Whitening(
            places=tuple(places),
            centre_ED=np.stack(centres).astype(np.float32),
            matrix_EDP=np.stack(matrices).astype(np.float32),
        )

    def __call__(self, views_NVD: NDArray[np.floating], *, block: int = 4096) -> Tensor:
        """Whiten ``[N, V, D]`` to ``[N, E, P]`` in half precision."""
        parts = []
        for start in range(0, len(views_NVD), block):
            white_NEP = project(
                views_NVD[start : start + block], self.places, self.centre_ED, self.matrix_EDP
            )
            parts.append(torch.from_numpy(white_NEP.clip(-_FARTHEST, _FARTHEST).astype(np.float16)))
        return torch.cat(parts)
