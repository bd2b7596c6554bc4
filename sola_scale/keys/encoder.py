"""The encoder: several views of a prompt to one short vector that says what it asks.

Heads in closed form are linear and read one view each. What tells "the father of" from "the mother of" lies in several
views at once and not along one direction, so this map is a small network, fitted together with the pair scorer.

Shape legend: B prompts, V views, D residual width, E views read, P directions kept of a view, H hidden, Z encoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sola_scale.keys.scorer import Floats

EPSILON = 1e-5
"""Keeps the layer norm finite; torch's default."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoder:
    """Project every view, normalise the whole (Ba et al. 2016), one hidden layer of ReLUs."""

    views: tuple[int, ...]
    """Places on the view axis of what it reads."""
    centre_ED: Floats
    """What is taken off a view before projecting."""
    matrix_EDP: Floats
    """The projection of each view."""
    inner_FH: Floats
    """First layer; F is E times P."""
    inner_H: Floats
    """Its bias."""
    outer_HZ: Floats
    """Second layer."""
    outer_Z: Floats
    """Its bias."""

    def __call__(self, views_BVD: Floats) -> Floats:
        """Encode ``[B, V, D]`` to ``[B, Z]``; lengths differ and say nothing by themselves."""
        projected_BEP = project(views_BVD, self.views, self.centre_ED, self.matrix_EDP)
        flat_BF = projected_BEP.reshape(len(views_BVD), -1)
        centred_BF = flat_BF - flat_BF.mean(axis=1, keepdims=True)
        scale_B1 = np.sqrt((centred_BF**2).mean(axis=1, keepdims=True) + np.float32(EPSILON))
        hidden_BH = np.maximum(centred_BF / scale_B1 @ self.inner_FH + self.inner_H, np.float32(0))
        encoded_BZ: Floats = (hidden_BH @ self.outer_HZ + self.outer_Z).astype(np.float32, copy=False)
        return encoded_BZ

    @property
    def dim(self) -> int:
        """Floats it gives."""
        return len(self.outer_Z)


def project(
    views_BVD: NDArray[np.floating], places: Sequence[int], centre_ED: Floats, matrix_EDP: Floats
) -> Floats:
    """Take the views at ``places`` each by its own affine map: ``[B, E, P]``."""
    views_EBD: Floats = views_BVD[:, list(places)].transpose(1, 0, 2).astype(np.float32, copy=False)
    projected_EBP = np.asarray((views_EBD - centre_ED[:, None]) @ matrix_EDP, dtype=np.float32)
    return projected_EBP.transpose(1, 0, 2)
