"""The listwise scorer: similarities of all candidates of a query to the probability that each asks its question.

Shape legend: B queries, k candidates, H similarities a candidate, F features a candidate, M verification floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perceptron:
    """A small multi-layer perceptron kept as plain arrays: standardise, ReLU layers, one logit."""

    mean_F: Floats
    """Means of the features it was fitted on."""
    scale_F: Floats
    """Their standard deviations."""
    weights: tuple[Floats, ...]
    """Weight matrices ``[in, out]``, first to last."""
    biases: tuple[Floats, ...]
    """Biases, one a matrix."""

    def __call__(self, features: Floats) -> Floats:
        """Map ``[..., F]`` to logits ``[...]``."""
        hidden = (features - self.mean_F) / self.scale_F
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weight + bias
            if layer < last:
                hidden = np.maximum(hidden, np.float32(0))
        logits: Floats = hidden[..., 0]
        return logits


def head_cosines(left: Floats, right: Floats, dims: Sequence[int]) -> Floats:
    """Cosine of each head: broadcastable ``[..., M]`` pairs to ``[..., H]``; every head's part has unit length."""
    starts = np.concatenate(([0], np.cumsum(dims)[:-1])).astype(np.int64)
    cosines: Floats = np.add.reduceat(left * right, starts, axis=-1)
    return cosines


def gaps(similarities_BkH: Floats, rivalry_Bkk: Floats) -> Floats:
    """How far each candidate leads its best rival, in each similarity; ``[B, k, H]``.

    Args:
        similarities_BkH: query against candidate.
        rivalry_Bkk: how much candidate j competes with candidate i, 0 to 1: two keys of one edit do not, two edits
            that ask the same question hardly do. Without any rival a candidate leads 0, the similarity of strangers.
    """
    rivals_BkkH = rivalry_Bkk[..., None] * similarities_BkH[:, None]
    gap_BkH: Floats = similarities_BkH - np.maximum(rivals_BkkH.max(axis=2), np.float32(0))
    return gap_BkH


def rivalry(pair_logits_Bkk: Floats, groups_Bk: Ints, mask_Bk: Bools) -> Floats:
    """How much candidates compete: real ones of another edit, by the probability that they ask another question."""
    other_Bkk: Bools = groups_Bk[:, :, None] != groups_Bk[:, None, :]
    rivalry_Bkk: Floats = np.where(
        other_Bkk & mask_Bk[:, None, :], 1 - sigmoid(pair_logits_Bkk), np.float32(0)
    )
    return rivalry_Bkk


def sigmoid(logits: Floats) -> Floats:
    """The logistic function, without overflow."""
    probability: Floats = (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
    return probability
