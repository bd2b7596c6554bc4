"""Fitting a calibration: heads in closed form, scorers on posed routing problems, the threshold out of fold.

Shape legend: N texts, V views, D width, Q problems, k candidates, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sola_scale.backbone import Backbone, View, capture_views, fingerprint
from sola_scale.errors import CalibrationError
from sola_scale.keys.calibration import Calibration, Keys, listwise_features
from sola_scale.keys.corpus import ASKED, Corpus, corpus_of
from sola_scale.keys.heads import Head, fit_head
from sola_scale.keys.layout import Layout, Part, default_layout
from sola_scale.keys.lexicon import NAMES_COVERED, Lexicon, fit_lexicon
from sola_scale.keys.pairs import KINDS, Pairs
from sola_scale.keys.perceptron import fit_perceptron
from sola_scale.keys.problems import Problems, pose
from sola_scale.keys.scorer import Floats, Perceptron, rivalry, sigmoid

Bools = NDArray[np.bool_]
_ALL = slice(None)
_NEAR_MISS_WEIGHT = np.float32(4)
_ALL_COVERED = 0.999


def capture_all(
    backbone: Backbone,
    texts: Sequence[str],
    views: Sequence[View],
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Views of many texts, ``[N, V, D]`` float32, run in batches of like length; ``progress(done, all)`` is told."""
    lengths = [len(tokens) for tokens in backbone.tokenizer(list(texts))["input_ids"]]
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    width = backbone.architecture.width
    views_NVD = np.zeros((len(texts), len(views), width), dtype=np.float32)
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        captured: torch.Tensor = capture_views(backbone, [texts[place] for place in places], views)
        views_NVD[places] = captured.float().cpu().numpy()
        if progress is not None:
            progress(start + len(places), len(order))
    return views_NVD


def fit_calibration(
    backbone: Backbone,
    pairs: Sequence[Pairs],
    *,
    false_fire: float = 0.01,
    seed: int = 0,
    layout: Layout | None = None,
    note: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Fit a calibration for a model from calibration pairs; minutes on a CPU, equal for equal input and seed.

    Raises:
        CalibrationError: the pairs are too few, or ``false_fire`` is no rate.
    """
    layout = layout or default_layout(len(backbone.architecture.layers))
    corpus = corpus_of(pairs)
    views_NVD = capture_all(backbone, corpus.texts, layout.views, progress=progress)
    return fit_from_views(
        corpus,
        views_NVD,
        layout,
        model=fingerprint(backbone)["model"],
        false_fire=false_fire,
        seed=seed,
        note=note,
    )


def fit_from_views(
    corpus: Corpus,
    views_NVD: NDArray[np.floating],
    layout: Layout,
    *,
    model: str,
    false_fire: float = 0.01,
    seed: int = 0,
    folds: int = 3,
    note: str = "",
) -> Calibration:
    """Fit from views that are at hand: ``views_NVD`` has the texts of ``corpus`` and the views of ``layout``.

    Heads are fitted on the other folds of questions before a fold's problems are posed: a head is too good on the
    pairs it was fitted on, and a scorer or a threshold fitted on those would trust it too much.

    Raises:
        CalibrationError: the pairs are too few, or ``false_fire`` is no rate.
    """
    _check(corpus, false_fire, folds)
    fold_N = (
        np.random.default_rng(seed).permutation(int(corpus.question_N.max()) + 1)[corpus.question_N] % folds
    )
    lexicon = _fit_lexicon(views_NVD, layout)
    features, problems = [], []
    for fold in range(folds):
        heads = _fit_heads(corpus, views_NVD, layout, fold_N != fold)
        draft = _draft(layout, heads, lexicon, model)
        keys = draft.keys(views_NVD.astype(np.float32))
        posed = pose(corpus, keys, queries=fold_N == fold)
        problems.append(posed)
        features.append(_Similarities.of(draft, keys, posed))
    heads = _fit_heads(corpus, views_NVD, layout, np.ones(len(corpus), dtype=np.bool_))
    draft = _draft(layout, heads, lexicon, model)
    fitted = _fit_scorers(corpus, features, problems, draft, false_fire=false_fire, seed=seed)
    return Calibration(
        views=layout.views,
        retrieval=heads[0],
        heads=tuple(heads[1:]),
        pair=fitted.pair,
        listwise=fitted.listwise,
        lexicon=lexicon,
        threshold=fitted.threshold,
        false_fire=false_fire,
        model=model,
        note=note,
    )


def _check(corpus: Corpus, false_fire: float, folds: int) -> None:
    if not 0 < false_fire < 1:
        raise CalibrationError(f"the false-fire rate must lie between 0 and 1, not {false_fire}")
    asked = corpus.question_N[corpus.role_N == ASKED]
    paraphrased = int((np.unique(asked, return_counts=True)[1] > 1).sum())
    if paraphrased < 10 * folds:
        raise CalibrationError(
            f"{paraphrased} questions with a paraphrase are too few to calibrate with; give at least {10 * folds}, "
            "better some thousands"
        )


def _fit_heads(corpus: Corpus, views_NVD: NDArray[np.floating], layout: Layout, keep_N: Bools) -> list[Head]:
    place = {view: number for number, view in enumerate(layout.views)}
    groups = {"question": corpus.question_N, "subject": corpus.subject_N, "relation": corpus.relation_N}
    return [
        fit_head(
            views_NVD[keep_N, place[part.view]].astype(np.float32),
            groups[part.shared][keep_N],
            view=place[part.view],
            dim=part.dim,
        )
        for part in (Part(layout.retrieval, layout.retrieval_dim), *layout.heads)
    ]


def _fit_lexicon(views_NVD: NDArray[np.floating], layout: Layout) -> Lexicon | None:
    if layout.words is None:
        return None
    place = layout.views.index(layout.words)
    return fit_lexicon(views_NVD[:, place], view=place)


def _draft(layout: Layout, heads: list[Head], lexicon: Lexicon | None, model: str) -> Calibration:
    blank = Perceptron(mean_F=np.zeros(1, np.float32), scale_F=np.ones(1, np.float32), weights=(), biases=())
    return Calibration(
        views=layout.views,
        retrieval=heads[0],
        heads=tuple(heads[1:]),
        pair=blank,
        listwise=blank,
        lexicon=lexicon,
        threshold=0.5,
        false_fire=0.5,
        model=model,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Similarities:
    """What scorers are fitted on: likeness of queries and candidates, and of candidates among each other."""

    similar_QkS: Floats
    among_QkkS: Floats
    distance_Qk: Floats

    @staticmethod
    def of(draft: Calibration, keys: Keys, problems: Problems) -> "_Similarities":
        similar, among = [], []
        for start in range(0, len(problems), 256):
            block = slice(start, start + 256)
            query = draft.apart(keys.verification_BM[problems.query_Q[block], None])
            candidates = draft.apart(keys.verification_BM[problems.candidate_Qk[block]])
            similar.append(draft.similarities(query, candidates))
            among.append(draft.similarities(candidates.at(_ALL, _ALL, None), candidates.at(_ALL, None)))
        return _Similarities(
            similar_QkS=np.concatenate(similar),
            among_QkkS=np.concatenate(among),
            distance_Qk=problems.distance_Qk,
        )


class _Fitted(NamedTuple):
    """What is fitted on problems."""

    pair: Perceptron
    listwise: Perceptron
    threshold: float


def _fit_scorers(
    corpus: Corpus,
    similar: list[_Similarities],
    problems: list[Problems],
    draft: Calibration,
    *,
    false_fire: float,
    seed: int,
) -> _Fitted:
    """Fit both scorers on all folds; set the threshold on scores from scorers that did not see the fold."""
    weights = [_weights(corpus, posed) for posed in problems]
    pair = _fit(
        [
            _Examples(part.similar_QkS, posed.label_Qk, weight_Qk)
            for part, posed, weight_Qk in zip(similar, problems, weights, strict=True)
        ],
        seed,
    )
    weighing = replace(draft, pair=pair)
    lists = [
        _Examples(_list_features(weighing, part), posed.label_Qk, weight_Qk)
        for part, posed, weight_Qk in zip(similar, problems, weights, strict=True)
    ]
    scores = []
    for held, examples in enumerate(lists):
        seen = _fit([part for place, part in enumerate(lists) if place != held], seed)
        scores.append(sigmoid(seen(examples.features_QkF)))
    score_Qk = np.concatenate(scores)
    unknown_Q = np.concatenate([~posed.known_Q for posed in problems])
    role_Q = np.concatenate(
        [_roles(corpus, posed, part, draft) for posed, part in zip(problems, similar, strict=True)]
    )
    threshold = choose_threshold(score_Qk.max(axis=1)[unknown_Q], role_Q[unknown_Q], false_fire)
    return _Fitted(pair, _fit(lists, seed), threshold)


def _roles(corpus: Corpus, posed: Problems, similar: _Similarities, draft: Calibration) -> NDArray[np.int64]:
    """The role of each query among its candidates: a question that meets another one of its subject is a near miss."""
    role_Q = corpus.role_N[posed.query_Q]
    subject_Qk = corpus.subject_N[posed.candidate_Qk]
    near_Qk = subject_Qk == corpus.subject_N[posed.query_Q, None]
    if draft.lexicon is not None:
        # pairs do not say of every two questions that they share a subject; the names they hold do
        places = [len(draft.heads) + place for place in NAMES_COVERED]
        near_Qk |= (similar.similar_QkS[..., places] > _ALL_COVERED).all(axis=-1)
    return np.where((role_Q == ASKED) & near_Qk.any(axis=1), KINDS.index("same-subject"), role_Q)


def choose_threshold(best_Q: Floats, role_Q: NDArray[np.int64], false_fire: float) -> float:
    """The smallest threshold that keeps the false fires of every pool of unanswerable queries to their rate.

    Near misses (same subject, same relation) may fire at ``false_fire``; everything else, which is what a router
    mostly meets, at a tenth of it. That is asked for as a fifth: of real questions about one in a thousand asks, in
    other words, what an edit in the store asks, and does not know it (of the 13 most probable strangers among 13,234,
    8 did), so that a tenth would be set by wrong labels.
    """
    needed = [0.5]
    for role in np.unique(role_Q):
        rate = false_fire if role < ASKED - 1 else false_fire / 5
        needed.append(float(np.quantile(best_Q[role_Q == role], 1 - rate, method="higher")))
    return min(1.0, float(np.nextafter(np.float32(max(needed)), np.float32(2))))


def _list_features(weighing: Calibration, similar: _Similarities) -> Floats:
    groups_Qk = np.broadcast_to(np.arange(similar.distance_Qk.shape[1]), similar.distance_Qk.shape)
    mask_Qk = np.ones(similar.distance_Qk.shape, dtype=np.bool_)
    rivals_Qkk = rivalry(weighing.pair_logits(similar.among_QkkS), groups_Qk, mask_Qk)
    return listwise_features(similar.similar_QkS, similar.distance_Qk, rivals_Qkk)


class _Examples(NamedTuple):
    """What a scorer is fitted on."""

    features_QkF: Floats
    label_Qk: Bools
    weight_Qk: Floats


def _weights(corpus: Corpus, posed: Problems) -> Floats:
    """What each candidate counts: other questions about the query's subject more, for they are few and decide."""
    subject_Qk = corpus.subject_N[posed.candidate_Qk]
    near_Qk = (subject_Qk == corpus.subject_N[posed.query_Q, None]) & ~posed.label_Qk
    return np.where(near_Qk, _NEAR_MISS_WEIGHT, np.float32(1))


def _fit(parts: list[_Examples], seed: int) -> Perceptron:
    width = parts[0].features_QkF.shape[-1]
    return fit_perceptron(
        np.concatenate([part.features_QkF.reshape(-1, width) for part in parts]),
        np.concatenate([part.label_Qk.reshape(-1) for part in parts]),
        seed=seed,
        weights_N=np.concatenate([part.weight_Qk.reshape(-1) for part in parts]),
    )
