"""Measuring recall from within: does the likely search find what exact search finds, on queries made of own keys?"""

import numpy as np

from sola_index import exact
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Metric
from sola_index.maintenance import State
from sola_index.searching import Searcher
from sola_index.shortlist import Shortlist

# Shapes: M queries, D dimensions.
QUERIES = 32
ANSWERS = 8
LEANING = 0.45
"""A query stands this far on the way from one key to another: as far from its key as a hard paraphrase, 0.67 on the
unit sphere."""


def measure_recall(searcher: Searcher, state: State, metric: Metric, config: IndexConfig) -> float:
    """Share of self-made queries whose exactly nearest key is among the likely search's eight; 1 if there are no keys."""
    queries_MD = _queries(state, metric, config.seed)
    likely = [Shortlist(state.table, metric, query_D) for query_D in queries_MD]
    truth = [Shortlist(state.table, metric, query_D) for query_D in queries_MD]
    searcher.likely(state, likely, queries_MD, ANSWERS)
    candidates = exact.nearest(state.table, queries_MD, 1, 0, state.table.count)
    hits = []
    for found, true, rows_C in zip(likely, truth, candidates, strict=True):
        true.offer(rows_C)
        hits.append(bool(np.isin(true.best(1)[0], found.best(ANSWERS)[0]).all()))
    return float(np.mean(hits)) if hits else 1.0


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
