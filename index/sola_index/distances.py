"""Distances: the one formula that every tier's answers come from, and its conversion to each metric."""

import numpy as np

from sola_index.contract import Floats, Metric

# Shapes: C candidates, D dimensions.


def squared_distances(query_D: Floats, keys_CD: Floats) -> Floats:
    """Squared Euclidean distances by direct subtraction, float32 [C].

    The expanded form ``|q|^2 + |x|^2 - 2 q.x`` loses a key's distance to itself to cancellation (0.01 at norm 100, 50
    with one outlier dimension of 3000); subtraction gives zero.
    """
    difference_CD = keys_CD - query_D
    return np.asarray(np.einsum("cd,cd->c", difference_CD, difference_CD), dtype=np.float32)


def to_metric(squared: Floats, metric: Metric) -> Floats:
    """Distances of the metric from squared Euclidean ones: half of them is ``1 - cosine`` for unit keys."""
    if metric == "cosine":
        return np.asarray(squared * np.float32(0.5), dtype=np.float32)
    return np.sqrt(squared)


def squared_radius(radius: float, metric: Metric) -> float:
    """A squared radius that no distance at most ``radius`` exceeds, whatever the rounding of `to_metric`."""
    squared = 2.0 * radius if metric == "cosine" else radius * radius
    return squared * (1.0 + 1e-6)
