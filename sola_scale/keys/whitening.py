"""Whitening: the directions of several views that part relations best, which encoders are fitted on.

Shape legend: N texts, V views, D residual width, E views read, P directions kept of a view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sola_scale.keys.blocks import over_blocks
from sola_scale.keys.encoder import project
from sola_scale.keys.heads import parting_directions
from sola_scale.keys.scorer import Floats, Ints

DIRECTIONS = 192
"""Directions kept of a view: the further ones part relations hardly any better."""
_BLOCK = 1024
_SAMPLE = 100_000
"""Texts that they are found on at most."""
_FARTHEST = 99
"""Outliers are cut off here, that half precision holds them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whitening:
    """The leading directions of some views, scaled to unit variance inside relations."""

    places: tuple[int, ...]
    """The views, by their place on the view axis."""
    centre_ED: Floats
    """Their means."""
    matrix_EDP: Floats
    """Their directions."""

    @staticmethod
    def of(views_NVD: NDArray[np.floating], places: Sequence[int], relation_N: Ints) -> "Whitening":
        """Find each view's directions on an even part of the texts of which another asks for the same relation."""
        _, group_of_N, size_G = np.unique(relation_N, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(size_G[group_of_N] > 1)
        chosen = shared[:: -(-len(shared) // _SAMPLE)]
        found = [
            parting_directions(
                views_NVD[chosen, place].astype(np.float32), relation_N[chosen], dim=DIRECTIONS
            )
            for place in places
        ]
        centres, matrices = zip(*found, strict=True)
        return Whitening(places=tuple(places), centre_ED=np.stack(centres), matrix_EDP=np.stack(matrices))

    def __call__(self, views_NVD: NDArray[np.floating]) -> Tensor:
        """Whiten ``[N, V, D]`` to ``[N, E, P]`` in half precision."""

        def whiten(block: slice) -> Tensor:
            white_NEP = project(views_NVD[block], self.places, self.centre_ED, self.matrix_EDP)
            return torch.from_numpy(white_NEP.clip(-_FARTHEST, _FARTHEST).astype(np.float16))

        return torch.cat(over_blocks(whiten, len(views_NVD), _BLOCK))
