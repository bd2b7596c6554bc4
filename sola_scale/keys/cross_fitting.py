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
from sola_scale.keys.calibration import Calibration
from sola_scale.keys.cross_encoder import Blend, CrossEncoder, CrossReader, in_doubt, token_lists
from sola_scale.keys.cross_training import CrossConfig, LabelledPairs, train
from sola_scale.keys.doubts import Doubts
from sola_scale.keys.judging import choose_threshold
from sola_scale.keys.scorer import Bools, Floats, Ints, sigmoid

DOUBT = (-1.5, 2.0)
"""Between these logits keys are not believed at once: a probability of 0.18 and one of 0.88. A wider range costs more and gains little."""
_KEPT = 6
"""One relation in so many is kept from training."""
_DRAW = 7
_NEAR, _FAR = 4.4, 1.3
"""Near misses and others for each paraphrase that is trained on. Of doubtful pairs alone it learns less: see docs/design/routing.md."""
_FEWEST = 500
"""Pairs of either label that there must be."""
_NEWTON_STEPS, _RIDGE = 30, 1e-3

Progress = Callable[[int, int], None]


class SecondLook(NamedTuple):
    """A cross-encoder, and what it makes of problems."""

    cross: CrossEncoder
    settled_Qk: Floats
    """The verdicts, blended where there was doubt."""


def with_cross_encoder(
    calibration: Calibration,
    backbone: Backbone,
    doubts: Doubts,
    *,
    config: CrossConfig | None = None,
    false_fire: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Train a cross-encoder on the problems of a calibration's fit, and set its threshold anew; hours on a CPU, minutes on a GPU.

    Blend and threshold are fitted on queries whose relation was kept from both (of their texts the cross-encoder met some as candidates).
    ``false_fire`` is the calibration's own rate by default.

    Raises:
        CalibrationError: too little is in doubt to learn from, or ``false_fire`` is no rate.
        ModelError: the model has no linear map of a known name to adapt.
    """
    rate = calibration.false_fire if false_fire is None else false_fire
    if not 0 < rate < 1:
        raise CalibrationError(f"the false-fire rate must lie between 0 and 1, not {rate}")
    kept_Q = _kept(doubts, seed)
    counted_Q = kept_Q & ~doubts.known_Q
    # before the hour of training, not after it
    _must_differ(doubts.label_Qk[_in_doubt(doubts, kept_Q)])
    if not counted_Q.any():
        raise CalibrationError("no question without an answer is left to set a threshold on: give more pairs")
    cross = _trained(
        backbone,
        doubts,
        ~kept_Q,
        config=config or CrossConfig.of(len(backbone.architecture.layers)),
        seed=seed,
        progress=progress,
    )
    look = fit_blend(backbone, cross, doubts, kept_Q)
    best_Q = sigmoid(look.settled_Qk).max(axis=1)
    threshold = choose_threshold(best_Q[counted_Q], doubts.role_Q[counted_Q], rate)
    return replace(calibration, cross=look.cross, reader=None, threshold=threshold, false_fire=rate)


def _trained(
    backbone: Backbone,
    doubts: Doubts,
    open_Q: Bools,
    *,
    config: CrossConfig,
    seed: int,
    progress: Progress | None,
) -> CrossEncoder:
    separator = backbone.end_of_turn
    trained = train(
        backbone,
        token_lists(doubts.spelled, slice(None)),
        _pairs(doubts, open_Q, seed),
        separator=separator,
        config=config,
        seed=seed,
        progress=progress,
    )
    return CrossEncoder(
        depth=config.depth,
        separator=separator,
        adapters=trained.adapters,
        head_D=trained.head_D,
        bias=trained.bias,
        doubt=DOUBT,
        blend=Blend(0.0, 1.0, 0.0),
    )


def fit_blend(backbone: Backbone, cross: CrossEncoder, doubts: Doubts, kept_Q: Bools) -> SecondLook:
    """Read again what is doubtful of the problems ``kept_Q``, and fit on it how much either logit counts.

    Raises:
        CalibrationError: nothing is in doubt that differs, or what was read speaks against itself.
    """
    rows_P, places_P = _in_doubt(doubts, kept_Q)
    label_P, keys_P = doubts.label_Qk[rows_P, places_P], doubts.verdict_Qk[rows_P, places_P]
    _must_differ(label_P)
    read_P = CrossReader(cross, backbone).logits(
        token_lists(doubts.spelled, doubts.query_Q[rows_P]),
        token_lists(doubts.spelled, doubts.candidate_Qk[rows_P, places_P]),
    )
    blend = _regression(keys_P, read_P, label_P, doubts.weight_Qk[rows_P, places_P])
    settled_Qk = doubts.verdict_Qk.copy()
    settled_Qk[rows_P, places_P] = blend(keys_P, read_P)
    return SecondLook(replace(cross, blend=blend), settled_Qk)


def _kept(doubts: Doubts, seed: int) -> Bools:
    """Problems whose query's relation is kept from training."""
    relations, place_Q = np.unique(doubts.relation_Q, return_inverse=True)
    # Another draw than that of the folds: of each fold some relations are kept.
    drawn = np.random.default_rng(seed + _DRAW).permutation(len(relations))
    kept_Q: Bools = (drawn % _KEPT == 0)[place_Q]
    return kept_Q


def _in_doubt(doubts: Doubts, among_Q: Bools) -> tuple[Ints, Ints]:
    """Rows and places of the candidates in doubt: never the query's own text, which is not read again."""
    open_Qk = among_Q[:, None] & (doubts.candidate_Qk != doubts.query_Q[:, None])
    rows_P, places_P = np.nonzero(in_doubt(doubts.verdict_Qk, open_Qk, DOUBT))
    return rows_P, places_P


def _must_differ(label_P: Bools) -> None:
    if not label_P.any() or label_P.all():
        raise CalibrationError("keys leave too little in doubt: a cross-encoder has nothing to tell apart")


def _pairs(doubts: Doubts, open_Q: Bools, seed: int) -> LabelledPairs:
    """Pairs of the problems ``open_Q``: paraphrases, near misses and others, in the shares that are trained on."""
    rng = np.random.default_rng(seed)
    apart_Qk = (doubts.candidate_Qk != doubts.query_Q[:, None]) & open_Q[:, None]
    right_Qk = doubts.label_Qk & apart_Qk
    near_Qk = (doubts.weight_Qk > 1) & ~doubts.label_Qk & apart_Qk
    far_Qk = apart_Qk & ~right_Qk & ~near_Qk
    most = int(right_Qk.sum())
    wrong = [_drawn(near_Qk, round(_NEAR * most), rng), _drawn(far_Qk, round(_FAR * most), rng)]
    count = sum(len(rows) for rows, _ in wrong)
    if min(most, count) < _FEWEST:
        raise CalibrationError(
            f"{most} paraphrases and {count} others are too few to train a cross-encoder on"
        )
    # each paraphrase twice: there are few of them
    drawn = [np.nonzero(right_Qk)] * 2 + wrong
    rows_P, places_P = (np.concatenate(part) for part in zip(*drawn, strict=True))
    query_P, candidate_P = doubts.query_Q[rows_P], doubts.candidate_Qk[rows_P, places_P]
    return LabelledPairs(query_P, candidate_P, doubts.label_Qk[rows_P, places_P])


def _drawn(wanted_Qk: Bools, most: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    rows_P, places_P = np.nonzero(wanted_Qk)
    some = rng.permutation(len(rows_P))[:most]
    return rows_P[some], places_P[some]


def _regression(keys_P: Floats, read_P: Floats, label_P: Bools, weight_P: Floats) -> Blend:
    """Weighted logistic regression on both logits; keys that say nothing beside what was read count for nothing.

    Raises:
        CalibrationError: what was read speaks against itself.
    """
    ones_P = np.ones_like(keys_P)
    keys, cross, offset = _newton(np.stack([keys_P, read_P, ones_P], axis=1), label_P, weight_P)
    if keys < 0:
        keys, (cross, offset) = 0.0, _newton(np.stack([read_P, ones_P], axis=1), label_P, weight_P)
    if not np.isfinite([keys, cross, offset]).all() or cross <= 0:
        raise CalibrationError("on what was kept from it the cross-encoder says nothing: give more pairs")
    return Blend(keys, cross, offset)


def _newton(inputs_PF: Floats, label_P: Bools, weight_P: Floats) -> list[float]:
    """Weights of a logistic regression, by Newton's method."""
    wide_PF = inputs_PF.astype(np.float64)
    ridge_FF = _RIDGE * np.eye(wide_PF.shape[1])
    blend_F = np.zeros(wide_PF.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability_P = 0.5 * (1 + np.tanh(0.5 * wide_PF @ blend_F))
        slope_F = wide_PF.T @ (weight_P * (label_P - probability_P)) - ridge_FF @ blend_F
        curve_P = weight_P * probability_P * (1 - probability_P)
        curvature_FF = (wide_PF * curve_P[:, None]).T @ wide_PF + ridge_FF
        blend_F = blend_F + np.linalg.solve(curvature_FF, slope_F)
    return [float(weight) for weight in blend_F]
