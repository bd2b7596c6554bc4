"""Distances: the one formula that every answer comes from, and its conversion to each metric."""

import numpy as np

from sola_index.backend import faiss
from sola_index.contract import Floats, Metric, Rows

# Shapes: N keys, C candidates, D dimensions.


def squared_distances(query_D: Floats, keys_ND: Floats, rows_C: Rows) -> Floats:
    """Squared Euclidean distances of rows of a key array by direct subtraction, float32 [C].

    faiss subtracts row by row, so the result depends on nothing but the two vectors, and nothing is copied together
    first. The expanded form ``|q|^2 + |x|^2 - 2 q.x`` loses a key's distance to itself to cancellation (0.01 at
    length 100, 50 with one outlier dimension of 3000); subtraction gives zero.
    """
    squared_C = np.empty(len(rows_C), np.float32)
    pointer = faiss.swig_ptr
    faiss.fvec_L2sqr_by_idx(
        pointer(squared_C), pointer(query_D), pointer(keys_ND), pointer(rows_C), len(query_D), 1, len(rows_C)
    )
    return squared_C


def to_metric(squared: Floats, metric: Metric) -> Floats:
    """Distances of the metric from squared Euclidean ones: half of them is ``1 - cosine`` for unit keys."""
    if metric == "cosine":
        return np.asarray(squared * np.float32(0.5), dtype=np.float32)
    return np.sqrt(squared)


def squared_radius(radius: float, metric: Metric) -> float:
    """A squared radius that no distance at most ``radius`` exceeds, whatever the rounding of `to_metric`."""
    squared = 2.0 * radius if metric == "cosine" else radius * radius
    return squared * (1.0 + 1e-6)
