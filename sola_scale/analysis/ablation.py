"""Which view, which pooling, which layer; raw against calibrated; SoLA's key at the first and the last edited layer.

Shape legend: E edits, Q queries, V views, D width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sola_scale.analysis.trial import Trial
from sola_scale.backbone import View
from sola_scale.keys.blocks import blocks
from sola_scale.keys.heads import Head, fit_head

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Halves = NDArray[np.float16]

_BLOCK = 256


def ablate_views(
    views: Sequence[View],
    edits_EVD: Halves,
    facts_E: Ints,
    queries_QVD: Halves,
    facts_Q: Ints,
    *,
    fitted: tuple[Halves, Ints],
    dim: int = 256,
) -> list[dict[str, Any]]:
    """Share of paraphrases whose nearest key is the right one, view by view: raw and calibrated.

    Args:
        views: the view axis.
        edits_EVD: views of all edits in the store.
        facts_E: their facts.
        queries_QVD: views of paraphrases.
        facts_Q: the facts they ask for.
        fitted: views and questions of the pairs that the heads are fitted on, none of them in the trial.
        dim: directions kept.
    """
    rows = []
    for place, view in enumerate(views):
        edits_EV1D = edits_EVD[:, place : place + 1].astype(np.float32)
        queries_QV1D = queries_QVD[:, place : place + 1].astype(np.float32)
        head = fit_head(fitted[0][:, place].astype(np.float32), fitted[1], view=0, dim=dim)
        row: dict[str, Any] = {"layer": view.layer, "pooling": view.pooling}
        for name, keys in (("raw_l2", _raw), ("raw_cosine", _unit), ("calibrated", head)):
            row[name] = _ranks(keys(edits_EV1D), facts_E, keys(queries_QV1D), facts_Q)
        rows.append(row)
    return rows


def paper_key(
    edits_ED: Halves, facts_E: Ints, queries_QD: Halves, facts_Q: Ints, strangers_SD: Halves, *, alpha: float
) -> dict[str, float]:
    """SoLA's router at one layer: raw last token, nearest key, fires within ``alpha``; and at its best threshold.

    ``best`` is the largest gain of right fires over false fires that any threshold on the distance gives.
    """
    edits, queries, strangers = (rows.astype(np.float32) for rows in (edits_ED, queries_QD, strangers_SD))
    nearest_Q, distance_Q = _nearest_l2(queries, edits)
    _, distance_S = _nearest_l2(strangers, edits)
    right_Q = facts_E[nearest_Q] == facts_Q
    levels = np.quantile(np.concatenate([distance_Q, distance_S]), np.linspace(0, 1, 201))
    gains = [
        float((right_Q & (distance_Q <= level)).mean() - (distance_S <= level).mean()) for level in levels
    ]
    return {
        "alpha": alpha,
        "right_at_alpha": float((right_Q & (distance_Q <= alpha)).mean()),
        "false_at_alpha": float((distance_S <= alpha).mean()),
        "nearest_right": float(right_Q.mean()),
        "best_gain": max(gains),
        "best_threshold": float(levels[int(np.argmax(gains))]),
    }


def paraphrases(trial: Trial, limit: int) -> tuple[list[str], Ints]:
    """The paraphrase queries of a trial, at most ``limit`` of each set, and their facts."""
    texts: list[str] = []
    facts: list[int] = []
    for pool in trial.pools:
        if "paraphrase" in pool.name:
            texts += pool.texts[:limit]
            facts += pool.facts[:limit].tolist()
    return texts, np.array(facts, dtype=np.int64)


def _raw(rows_BVD: Floats) -> Floats:
    return rows_BVD[:, 0]


def _unit(rows_BVD: Floats) -> Floats:
    dim = rows_BVD.shape[-1]
    return Head(view=0, centre_D=np.zeros(dim, np.float32), matrix_DK=np.eye(dim, dtype=np.float32))(rows_BVD)


def _ranks(edits_EK: Floats, facts_E: Ints, queries_QK: Floats, facts_Q: Ints) -> dict[str, float]:
    first = top8 = 0
    squares_E = (edits_EK**2).sum(axis=1)
    for block in blocks(len(queries_QK), _BLOCK):
        distance_BE = squares_E - 2 * queries_QK[block] @ edits_EK.T
        top_Bk = np.argpartition(distance_BE, 7, axis=1)[:, :8]
        best_B = np.take_along_axis(
            top_Bk, np.take_along_axis(distance_BE, top_Bk, axis=1).argmin(axis=1)[:, None], 1
        )
        first += int((facts_E[best_B[:, 0]] == facts_Q[block]).sum())
        top8 += int((facts_E[top_Bk] == facts_Q[block, None]).any(axis=1).sum())
    return {"first": first / len(queries_QK), "top8": top8 / len(queries_QK)}


def _nearest_l2(queries_QD: Floats, edits_ED: Floats) -> tuple[Ints, Floats]:
    nearest = np.empty(len(queries_QD), dtype=np.int64)
    for block in blocks(len(queries_QD), _BLOCK):
        nearest[block] = ((edits_ED**2).sum(axis=1) - 2 * queries_QD[block] @ edits_ED.T).argmin(axis=1)
    # the expanded form cancels: the distance that is compared with the threshold is taken by subtraction
    distance: Floats = np.linalg.norm(queries_QD - edits_ED[nearest], axis=1)
    return nearest, distance
