"""The listwise scorer: similarities of all candidates of a query to the probability that each asks its question.

Shape legend: B queries, k candidates, H similarities a candidate, F features a candidate, M verification floats.
"""

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


def sigmoid(logits: Floats) -> Floats:
    """The logistic function, without overflow."""
    probability: Floats = (0.5 * (1 + np.tanh(0.5 * logits))).astype(np.float32)
    return probability
