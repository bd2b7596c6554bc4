"""Measuring recall from within: does the likely search find what exact search finds, on queries made of own keys?"""

import numpy as np

from sola_index.contract import Floats, Metric
from sola_index.maintenance import State
from sola_index.searching import Searcher

# Shapes: M queries, D dimensions.
QUERIES = 32
ANSWERS = 8
LEANING = 0.45
"""A query stands this far on the way from one key to another: as far from its key as a hard paraphrase, 0.67 on the
unit sphere."""


def measure_recall(searcher: Searcher, state: State, metric: Metric, seed: int) -> float:
    """Share of self-made queries whose exactly nearest key is among the likely search's eight; 1 if there are no keys."""
    queries_MD = _queries(state, metric, seed)
    if not len(queries_MD):
        return 1.0
    found_MK = searcher.likely(state, queries_MD, ANSWERS)
    truth_M1 = searcher.exact(state, queries_MD, 1)
    return float((found_MK == truth_M1).any(1).mean())


def _queries(state: State, metric: Metric, seed: int) -> Floats:
    table = state.table
    live_N = table.live_rows(0, table.count)
    rows_2M = np.random.default_rng(seed + table.count).choice(live_N, (2, min(QUERIES, len(live_N))))
    here_MD, there_MD = table.gather(rows_2M[0]), table.gather(rows_2M[1])
    queries_MD = here_MD + np.float32(LEANING) * (there_MD - here_MD)
    if metric == "cosine":
        # Keys that cancel each other leave no direction; the key itself stands in.
        lengths_M1 = np.linalg.norm(queries_MD, axis=1, keepdims=True)
        queries_MD = np.where(lengths_M1 > 1e-3, queries_MD / np.maximum(lengths_M1, 1e-3), here_MD)
    return np.ascontiguousarray(queries_MD, np.float32)
