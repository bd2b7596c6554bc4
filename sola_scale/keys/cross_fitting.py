"""Fitting a cross-encoder to a calibration: which pairs it is trained on, what it counts beside the keys, and what both make of problems.

Keys and cross-encoder must each be heard on what neither was fitted on. So queries of some relations are kept from the training of the
cross-encoder; of all of them it is known what keys say that have not met their relation.

Shape legend: N texts, Q problems, k candidates, P pairs, T token places.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sola_scale.backbone import Backbone
from sola_scale.errors import CalibrationError
from sola_scale.keys.alignment import Spelled
from sola_scale.keys.corpus import Corpus
from sola_scale.keys.cross_encoder import Blend, CrossEncoder, CrossReader, token_lists
from sola_scale.keys.cross_training import CrossConfig, LabelledPairs, train
from sola_scale.keys.problems import Problems
from sola_scale.keys.scorer import Bools, Floats

DOUBT = (-2.5, 3.5)
"""Between these logits keys are not believed at once: a probability of 0.08 and one of 0.97."""
_KEPT = 6
"""One relation in so many is kept from training."""
_DRAW = 7
_FEWEST = 500
"""Doubtful pairs of either label that there must be."""
_NEWTON_STEPS, _RIDGE = 30, 1e-3

Progress = Callable[[int, int], None]


class Doubts(NamedTuple):
    """What keys say of problems whose relations they have not met."""

    corpus: Corpus
    problems: Problems
    spelled: Spelled
    """Tokens of the corpus' texts."""
    pair_Qk: Floats
    """Logits of the matchers alone."""
    verdict_Qk: Floats
    """Logits that count."""
    weight_Qk: Floats
    """How much each counts."""


class SecondLook(NamedTuple):
    """A cross-encoder, and what it makes of problems."""

    cross: CrossEncoder
    settled_Qk: Floats
    """The verdicts, blended where there was doubt."""
    kept_Q: Bools
    """Problems whose relation was kept from its training: only what is settled there says how good it is."""


def fit_cross_encoder(
    backbone: Backbone,
    doubts: Doubts,
    *,
    config: CrossConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SecondLook:
    """Train on what keys doubt, then blend on relations kept from both; hours on a CPU, minutes on a GPU.

    Raises:
        CalibrationError: too little is in doubt to learn from.
        ModelError: the model has no linear map of a known name to adapt.
    """
    config = config or CrossConfig.of(len(backbone.architecture.layers))
    kept_Q = _kept(doubts, seed)
    separator = backbone.end_of_turn
    trained = train(
        backbone,
        token_lists(doubts.spelled, slice(None)),
        _pairs(doubts, ~kept_Q),
        separator=separator,
        config=config,
        seed=seed,
        progress=progress,
    )
    cross = CrossEncoder(
        depth=config.depth,
        separator=separator,
        adapters=trained.adapters,
        head_D=trained.head_D,
        bias=trained.bias,
        doubt=DOUBT,
        blend=Blend(0.0, 1.0, 0.0),
    )
    return settle(backbone, cross, doubts, kept_Q)


def settle(backbone: Backbone, cross: CrossEncoder, doubts: Doubts, kept_Q: Bools) -> SecondLook:
    """Read again what is doubtful of the problems ``kept_Q``, and fit on it how much either logit counts."""
    rows_P, places_P = np.nonzero(kept_Q[:, None] & cross.doubtful(doubts.verdict_Qk))
    problems = doubts.problems
    label_P, keys_P = problems.label_Qk[rows_P, places_P], doubts.verdict_Qk[rows_P, places_P]
    if not label_P.any() or label_P.all():
        raise CalibrationError("keys leave too little in doubt: a cross-encoder has nothing to tell apart")
    read_P = CrossReader(cross, backbone).logits(
        token_lists(doubts.spelled, problems.query_Q[rows_P]),
        token_lists(doubts.spelled, problems.candidate_Qk[rows_P, places_P]),
    )
    blend = _regression(keys_P, read_P, label_P, doubts.weight_Qk[rows_P, places_P])
    settled_Qk = doubts.verdict_Qk.copy()
    settled_Qk[rows_P, places_P] = blend(keys_P, read_P)
    return SecondLook(replace(cross, blend=blend), settled_Qk, kept_Q)


def _kept(doubts: Doubts, seed: int) -> Bools:
    """Problems whose query's relation is kept from training."""
    relations, place_Q = np.unique(doubts.corpus.relation_N[doubts.problems.query_Q], return_inverse=True)
    # Another draw than that of the folds: of each fold some relations are kept.
    drawn = np.random.default_rng(seed + _DRAW).permutation(len(relations))
    kept_Q: Bools = (drawn % _KEPT == 0)[place_Q]
    return kept_Q


def _pairs(doubts: Doubts, open_Q: Bools) -> LabelledPairs:
    """What the matchers doubt of the problems ``open_Q``."""
    low, high = DOUBT
    problems = doubts.problems
    rows_P, places_P = np.nonzero(open_Q[:, None] & (doubts.pair_Qk > low) & (doubts.pair_Qk < high))
    query_P, candidate_P = problems.query_Q[rows_P], problems.candidate_Qk[rows_P, places_P]
    apart_P = query_P != candidate_P
    label_P = problems.label_Qk[rows_P, places_P][apart_P]
    if min(label_P.sum(), (~label_P).sum()) < _FEWEST:
        raise CalibrationError(
            f"{len(label_P)} pairs are in doubt: too few to train a cross-encoder on; give more pairs"
        )
    return LabelledPairs(query_P[apart_P], candidate_P[apart_P], label_P)


def _regression(keys_P: Floats, read_P: Floats, label_P: Bools, weight_P: Floats) -> Blend:
    """Weighted logistic regression on both logits, by Newton's method.

    Raises:
        CalibrationError: one of them speaks against itself.
    """
    inputs_P3 = np.stack([keys_P, read_P, np.ones_like(keys_P)], axis=1).astype(np.float64)
    blend_3 = np.array([0.5, 0.5, 0.0])
    for _ in range(_NEWTON_STEPS):
        probability_P = 1 / (1 + np.exp(-inputs_P3 @ blend_3))
        slope_3 = inputs_P3.T @ (weight_P * (label_P - probability_P)) - _RIDGE * blend_3
        curve_P = weight_P * probability_P * (1 - probability_P)
        curvature_33 = (inputs_P3 * curve_P[:, None]).T @ inputs_P3 + _RIDGE * np.eye(3)
        blend_3 = blend_3 + np.linalg.solve(curvature_33, slope_3)
    if not (np.isfinite(blend_3).all() and blend_3[0] >= 0 and blend_3[1] > 0):
        raise CalibrationError(
            "on what was kept from it the cross-encoder says nothing that keys do not; give more pairs"
        )
    return Blend(*blend_3.tolist())
