"""A head: one view's hidden state, centred, projected and scaled to unit length.

Shape legend: B prompts, V views, D width of the residual stream, K directions kept by the head.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Groups = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """An affine map from one view to a point on the unit sphere, where the cosine is the similarity."""

    view: int
    """Which view it reads: its place on the view axis."""
    centre_D: Floats
    """What is taken off before projecting."""
    matrix_DK: Floats
    """The projection; columns by falling between-class variance."""
    unit: bool = True
    """Scale to unit length. Off only for raw keys compared by Euclidean distance."""

    def __call__(self, views_BVD: Floats) -> Floats:
        """Project ``[B, V, D]`` to rows ``[B, K]`` of unit length; a row of zeros stays zero."""
        projected_BK = np.asarray(
            (views_BVD[:, self.view] - self.centre_D) @ self.matrix_DK, dtype=np.float32
        )
        if not self.unit:
            return projected_BK
        norms_B = np.sqrt(np.einsum("bk,bk->b", projected_BK, projected_BK))
        unit_BK: Floats = (projected_BK / np.maximum(norms_B, 1e-12)[:, None]).astype(np.float32, copy=False)
        return unit_BK

    @property
    def dim(self) -> int:
        """Length of what it gives."""
        return int(self.matrix_DK.shape[1])


def fit_head(hidden_BD: Floats, groups_B: Groups, *, view: int, dim: int, shrinkage: float = 0.1) -> Head:
    """Fit a head in closed form: within-class covariance normalisation, then the leading directions.

    Rows of one group ask the same question, so what differs inside a group is noise: its covariance is whitened
    (Hatch, Kajarekar and Stolcke, Interspeech 2006), shrunk towards a multiple of the identity (Ledoit and Wolf 2004).
    Of the whitened space the directions of largest variance are kept.

    Args:
        hidden_BD: one view of every prompt.
        groups_B: which question each prompt asks; groups of one say nothing of noise and are used for variance only.
        view: place on the view axis that the head will read.
        dim: directions to keep, ``min(dim, D)`` in effect.
        shrinkage: share of the identity in the covariance.
    """
    centre_D, scale_D, scaled_BD, whiten_DD = _levelled(hidden_BD, groups_B, shrinkage)
    values_D, vectors_DD = np.linalg.eigh(np.cov((scaled_BD @ whiten_DD).T))
    leading_DK = vectors_DD[:, np.argsort(-values_D)[:dim]]
    matrix_DK = (whiten_DD @ leading_DK) / scale_D[:, None]
    return Head(view=view, centre_D=centre_D.astype(np.float32), matrix_DK=matrix_DK.astype(np.float32))


def parting_directions(
    hidden_BD: Floats, groups_B: Groups, *, dim: int, shrinkage: float = 0.1
) -> tuple[Floats, Floats]:
    """Centre ``[D]`` and directions ``[D, K]`` that part groups best: linear discriminants (Fisher 1936, Rao 1948).

    The variance inside groups is levelled as `fit_head` does; what is kept is where the means of the groups vary most.
    """
    centre_D, scale_D, scaled_BD, whiten_DD = _levelled(hidden_BD, groups_B, shrinkage)
    _, group_of_B, sizes_G = np.unique(groups_B, return_inverse=True, return_counts=True)
    means_GD = _means(scaled_BD, group_of_B, sizes_G) @ whiten_DD
    weighted_GD = means_GD * np.sqrt(sizes_G / len(scaled_BD))[:, None]
    values_D, vectors_DD = np.linalg.eigh(weighted_GD.T @ weighted_GD)
    leading_DK = vectors_DD[:, np.argsort(-values_D)[:dim]]
    matrix_DK = (whiten_DD @ leading_DK) / scale_D[:, None]
    return centre_D.astype(np.float32), matrix_DK.astype(np.float32)


class _Levelled(NamedTuple):
    centre_D: NDArray[np.float64]
    scale_D: NDArray[np.float64]
    scaled_BD: NDArray[np.float64]
    """Centred, each direction of the residual stream brought to unit variance."""
    whiten_DD: NDArray[np.float64]
    """Levels the variance inside groups."""


def _levelled(hidden_BD: Floats, groups_B: Groups, shrinkage: float) -> _Levelled:
    wide_BD = hidden_BD.astype(np.float64)
    centre_D, scale_D = wide_BD.mean(axis=0), wide_BD.std(axis=0) + 1e-6
    scaled_BD = (wide_BD - centre_D) / scale_D
    whiten_DD = _inverse_root(_within_covariance(scaled_BD, groups_B), shrinkage)
    return _Levelled(centre_D, scale_D, scaled_BD, whiten_DD)


def _means(scaled_BD: NDArray[np.float64], group_of_B: Groups, sizes_G: Groups) -> NDArray[np.float64]:
    sums_GD = np.zeros((len(sizes_G), scaled_BD.shape[1]))
    np.add.at(sums_GD, group_of_B, scaled_BD)
    return sums_GD / sizes_G[:, None]


def _within_covariance(scaled_BD: NDArray[np.float64], groups_B: Groups) -> NDArray[np.float64]:
    _, group_of_B, sizes_G = np.unique(groups_B, return_inverse=True, return_counts=True)
    deviations_BD = scaled_BD - _means(scaled_BD, group_of_B, sizes_G)[group_of_B]
    # each group of n gives n - 1 degrees of freedom
    freedom = max(1, len(scaled_BD) - len(sizes_G))
    covariance_DD: NDArray[np.float64] = deviations_BD.T @ deviations_BD / freedom
    return covariance_DD


def _inverse_root(covariance_DD: NDArray[np.float64], shrinkage: float) -> NDArray[np.float64]:
    dim = len(covariance_DD)
    level = max(np.trace(covariance_DD) / dim, 1e-12)
    values_D, vectors_DD = np.linalg.eigh((1 - shrinkage) * covariance_DD + shrinkage * level * np.eye(dim))
    root_DD: NDArray[np.float64] = (vectors_DD / np.sqrt(values_D)) @ vectors_DD.T
    return root_DD
