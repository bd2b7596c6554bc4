"""Fitting: determinism, refusals, thresholds, and what a fit leaves."""

import dataclasses
import threading

import numpy as np
import pytest

from sola_scale.backbone import View
from sola_scale.errors import CalibrationError
from sola_scale.keys import Calibration, Pairs, cross_fitting, matching, perceptron
from sola_scale.keys.alignment import spelled
from sola_scale.keys.corpus import ASKED, corpus_of
from sola_scale.keys.cross_encoder import Blend
from sola_scale.keys.doubts import Doubts
from sola_scale.keys.fitting import capture_all, fit_calibration
from sola_scale.keys.judging import choose_threshold
from sola_scale.keys.scorer import sigmoid
from tests.keys import synthetic


def test_the_same_seed_fits_the_same_calibration(corpus, views, calibration):
    """Fitting twice from the same pairs with the same seed gives one id."""
    again = synthetic.fit(corpus, views, false_fire=0.05, note="a test")
    assert again.id == calibration.id


def test_a_stricter_rate_gives_a_higher_threshold():
    """Fewer false fires are bought with a higher threshold."""
    best = np.random.default_rng(1).random(5_000).astype(np.float32)
    role = np.zeros(5_000, dtype=np.int64)
    assert choose_threshold(best, role, 0.01) > choose_threshold(best, role, 0.1)


def test_every_pool_is_kept_to_its_rate():
    """The threshold is the strictest that any pool needs: near misses at the rate, the rest at a fifth of it."""
    rng = np.random.default_rng(0)
    best = rng.random(20_000).astype(np.float32)
    role = np.where(np.arange(20_000) < 10_000, 0, ASKED)
    threshold = choose_threshold(best, role, 0.1)
    assert (best[role == 0] >= threshold).mean() <= 0.1
    assert (best[role == ASKED] >= threshold).mean() <= 0.02
    assert threshold == pytest.approx(0.98, abs=0.005)


def test_what_is_less_likely_than_not_never_fires():
    """However low every pool lies, no threshold falls below what a near miss as likely as not is given."""
    best, role = np.full(100, 0.01, np.float32), np.zeros(100, dtype=np.int64)
    assert choose_threshold(best, role, 0.1) == pytest.approx(1 / 3)


def test_too_few_pairs_are_refused():
    """Ten questions are no basis for a threshold."""
    corpus = corpus_of(synthetic.pairs_of(subjects=2, relations=4))
    with pytest.raises(CalibrationError, match="too few"):
        synthetic.fit(corpus, synthetic.views_of(corpus))


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2])
def test_a_rate_outside_zero_and_one_is_refused(corpus, views, rate):
    """The false-fire rate is a rate."""
    with pytest.raises(CalibrationError, match="rate"):
        synthetic.fit(corpus, views, false_fire=rate)


@pytest.fixture
def hasty(monkeypatch):
    """Fits that pass over their examples a few times only: how well they judge does not matter here."""
    monkeypatch.setattr(matching, "_EPOCHS", (3, 3))
    monkeypatch.setattr(perceptron, "_EPOCHS", (3, 3))


@pytest.fixture
def small():
    """A corpus that a hasty fit is through with at once."""
    return corpus_of(synthetic.pairs_of(subjects=10, relations=5))


@pytest.mark.usefixtures("hasty")
def test_a_fit_leaves_what_keys_doubt(small, tmp_path):
    """A fit leaves its problems, the tokens of every text, and logits; they can be saved."""
    views = synthetic.views_of(small)
    doubts = synthetic.fit_whole(small, views).doubts
    question_N, shape = small.question_N, (len(doubts.query_Q), 8)
    assert set(doubts.query_Q) == set(range(len(small)))
    asked_Qk = question_N[doubts.candidate_Qk] == question_N[doubts.query_Q, None]
    np.testing.assert_array_equal(doubts.label_Qk, asked_Qk)
    assert not (doubts.label_Qk.any(axis=1) & ~doubts.known_Q).any()
    np.testing.assert_array_equal(doubts.relation_Q, small.relation_N[doubts.query_Q])
    for ours, theirs in zip(doubts.spelled, spelled(views[:, 0]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {doubts.verdict_Qk.shape, doubts.weight_Qk.shape} == {shape}
    doubts.save(tmp_path / "doubts")
    again = Doubts.load(tmp_path / "doubts")
    for one in dataclasses.fields(Doubts):
        np.testing.assert_array_equal(getattr(again, one.name), getattr(doubts, one.name))
        assert getattr(again, one.name).dtype == getattr(doubts, one.name).dtype


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_the_threshold_is_chosen_on_what_has_no_answer(small, rate):
    """Without a second look, the threshold is set on all problems without an answer, by the verdicts that are left."""
    calibration, doubts = synthetic.fit_whole(small, synthetic.views_of(small), false_fire=rate)
    best_Q, open_Q = sigmoid(doubts.verdict_Qk).max(axis=1), ~doubts.known_Q
    assert 20 < open_Q.sum() < len(open_Q)
    assert calibration.threshold == choose_threshold(best_Q[open_Q], doubts.role_Q[open_Q], rate)
    assert (calibration.false_fire, calibration.cross) == (rate, None)


@pytest.mark.usefixtures("hasty")
def test_the_weights_and_roles_are_those_of_near_misses(small):
    """A candidate of the query's subject that does not ask its question weighs twice, and makes a question a near miss."""
    doubts = synthetic.fit_whole(small, synthetic.views_of(small)).doubts
    near_Qk = small.subject_N[doubts.candidate_Qk] == small.subject_N[doubts.query_Q, None]
    assert set(doubts.weight_Qk.flat) == {1, 2}
    assert (doubts.weight_Qk[near_Qk & ~doubts.label_Qk] == 2).all()
    assert (doubts.weight_Qk[doubts.label_Qk] == 1).all()
    assert not (doubts.role_Q[near_Qk.any(axis=1)] == ASKED).any()
    given_Q = small.role_N[doubts.query_Q]
    np.testing.assert_array_equal(doubts.role_Q[given_Q != ASKED], given_Q[given_Q != ASKED])


def test_progress_of_a_reading_is_told_by_its_caller(backbone):
    """Counts rise to all texts, in the caller's thread, however many threads read."""
    told = []
    capture_all(
        backbone,
        [f"text {number}" for number in range(11)],
        [View(0, "mean")],
        batch_size=4,
        progress=lambda *counts: told.append((*counts, threading.get_ident())),
    )
    assert told == [(done, 11, threading.get_ident()) for done in (4, 8, 11)]


def test_questions_of_too_few_relations_are_refused():
    """What is fitted must be tried on relations it has not met."""
    pairs = [Pairs(prompt=f"{n} 0 0", paraphrases=(f"{n} 0 1",), relation="one") for n in range(40)]
    corpus = corpus_of(pairs)
    with pytest.raises(CalibrationError, match="relations"):
        synthetic.fit(corpus, synthetic.views_of(corpus))


@pytest.mark.usefixtures("hasty")
def test_a_cross_encoder_is_fitted_with_the_keys(monkeypatch, backbone):
    """Fitting a calibration of a model with a cross-encoder gives one that, put on the model, reads doubtful prompts again."""
    monkeypatch.setattr(cross_fitting, "_FEWEST", 1)
    monkeypatch.setattr(cross_fitting, "DOUBT", (-9.0, 9.0))
    # what was learnt of a dozen pairs need not hold for others, and would be refused
    monkeypatch.setattr(cross_fitting, "_regression", lambda *_: Blend(0.5, 0.5, 0.0))
    pairs, steps = synthetic.pairs_of(subjects=10, relations=6), []
    fitted = fit_calibration(
        backbone, pairs, cross_encoder=True, training=lambda *counts: steps.append(counts)
    )
    assert steps == [(step, len(steps)) for step in range(1, len(steps) + 1)]
    assert len(steps) > 0
    again = Calibration.from_bytes(fitted.to_bytes())
    texts = corpus_of(pairs).texts[:12]
    keys = fitted.keys(capture_all(backbone, texts, fitted.views))
    distances = np.linalg.norm(keys.retrieval_BR[:, None] - keys.retrieval_BR, axis=-1).astype(np.float32)
    crowd = np.broadcast_to(keys.verification_BM, (12, *keys.verification_BM.shape))
    given = (keys.verification_BM, crowd, distances, ~np.eye(12, dtype=np.bool_))
    routed = [one.score_batch(*given) for one in (fitted, fitted.on(backbone), again.on(backbone))]
    np.testing.assert_array_equal(routed[1], routed[2])
    assert (routed[0] != routed[1]).any()
    own = again.on(backbone).score_batch(*given[:3], np.ones((12, 12), np.bool_))
    np.testing.assert_array_equal(np.diagonal(own), 1)
    assert ((routed[1] >= 0) & (routed[1] <= 1)).all()
