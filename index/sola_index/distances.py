"""Distances: the one formula that every answer comes from, and its conversion to each metric."""

import numpy as np

from sola_index.backend import faiss
from sola_index.contract import Floats, Metric, Rows

# Shapes: M queries, N keys, C candidates a query, D dimensions.


def squared_distances(queries_MD: Floats, keys_ND: Floats, rows_MC: Rows) -> Floats:
    """Squared Euclidean distances of rows of a key array by direct subtraction, float32 [M, C]; infinite at row -1.

    faiss subtracts row by row, so the result depends on nothing but the two vectors, and nothing is copied together
    first. The expanded form ``|q|^2 + |x|^2 - 2 q.x`` loses a key's distance to itself to cancellation (0.01 at
    length 100, 50 with one outlier dimension of 3000); subtraction gives zero.

    All arrays are C-contiguous, rows int64.
    """
    squared_MC = np.empty(rows_MC.shape, np.float32)
    pointer = faiss.swig_ptr
    faiss.fvec_L2sqr_by_idx(
        pointer(squared_MC),
        pointer(queries_MD),
        pointer(keys_ND),
        pointer(rows_MC),
        queries_MD.shape[1],
        *rows_MC.shape,
    )
    return squared_MC


def to_metric(squared: Floats, metric: Metric) -> Floats:
    """Distances of the metric from squared Euclidean ones: half of them is ``1 - cosine`` for unit keys."""
    if metric == "cosine":
        return np.asarray(squared * np.float32(0.5), dtype=np.float32)
    return np.sqrt(squared)


def squared_radius(radius: float, metric: Metric) -> float:
    """A squared radius that no distance at most ``radius`` exceeds, whatever the rounding of `to_metric`."""
    squared = 2.0 * radius if metric == "cosine" else radius * radius
    return squared * (1.0 + 1e-6)
