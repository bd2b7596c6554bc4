"""Fitting: determinism, refusals, thresholds."""

import numpy as np
import pytest

from sola_scale.errors import CalibrationError
from sola_scale.keys import Calibration, cross_fitting, judging, matching, perceptron
from sola_scale.keys.corpus import ASKED, corpus_of
from sola_scale.keys.cross_fitting import SecondLook
from sola_scale.keys.fitting import capture_all, fit_calibration
from sola_scale.keys.judging import choose_threshold
from sola_scale.keys.scorer import sigmoid
from tests.keys import synthetic
from tests.keys.crossed import cross_of


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


def _noted_threshold(monkeypatch):
    """Notes what thresholds are chosen on."""
    noted = []
    monkeypatch.setattr(
        judging, "choose_threshold", lambda *given: noted.append(given) or choose_threshold(*given)
    )
    return noted


@pytest.mark.usefixtures("hasty")
def test_the_threshold_is_chosen_on_what_was_kept_and_settled(monkeypatch, backbone):
    """With a second look, the threshold is set on kept problems without an answer alone, by their settled verdicts."""
    noted, looks = _noted_threshold(monkeypatch), []

    def look(doubts):
        rng = np.random.default_rng(0)
        settled_Qk = rng.normal(size=doubts.verdict_Qk.shape).astype(np.float32)
        looks.append((doubts, SecondLook(cross_of(backbone), settled_Qk, rng.random(len(settled_Qk)) < 0.5)))
        return looks[-1][1]

    corpus = corpus_of(synthetic.pairs_of(subjects=10, relations=5))
    fitted = synthetic.fit(corpus, synthetic.views_of(corpus), second_look=look)
    ((doubts, (cross, settled_Qk, kept_Q)),) = looks
    ((best_Q, role_Q, rate),) = noted
    counted_Q = kept_Q & ~doubts.problems.known_Q
    np.testing.assert_array_equal(best_Q, sigmoid(settled_Qk).max(axis=1)[counted_Q])
    assert len(role_Q) == len(best_Q) > 20
    assert fitted.threshold == choose_threshold(best_Q, role_Q, rate)
    assert fitted.cross is cross


@pytest.mark.usefixtures("hasty")
def test_a_second_look_is_given_what_keys_doubt(monkeypatch, backbone):
    """What looks again is told the problems, the tokens of every text, and verdicts that the threshold is set on without it."""
    noted, told = _noted_threshold(monkeypatch), []

    def look(doubts):
        told.append(doubts)
        return SecondLook(cross_of(backbone), doubts.verdict_Qk, np.ones(len(doubts.problems), np.bool_))

    corpus = corpus_of(synthetic.pairs_of(subjects=10, relations=5))
    views = synthetic.views_of(corpus)
    looked, plain = (synthetic.fit(corpus, views, second_look=one) for one in (look, None))
    (doubts,) = told
    assert doubts.corpus is corpus
    assert len(doubts.spelled.token) == len(corpus)
    assert doubts.pair_Qk.shape == doubts.weight_Qk.shape == doubts.problems.label_Qk.shape
    np.testing.assert_array_equal(noted[0][0], noted[1][0])
    assert (looked.threshold, plain.cross) == (plain.threshold, None)
    np.testing.assert_array_equal(looked.listwise.weights[0], plain.listwise.weights[0])


@pytest.mark.usefixtures("hasty")
def test_a_cross_encoder_is_fitted_with_the_keys(monkeypatch, backbone):
    """Fitting a calibration of a model with a cross-encoder gives one that, put on the model, reads doubtful prompts again."""
    monkeypatch.setattr(cross_fitting, "_FEWEST", 1)
    monkeypatch.setattr(cross_fitting, "DOUBT", (-9.0, 9.0))
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
    given = (keys.verification_BM, crowd, distances, np.ones((12, 12), np.bool_))
    routed = [one.score_batch(*given) for one in (fitted, fitted.on(backbone), again.on(backbone))]
    np.testing.assert_array_equal(routed[1], routed[2])
    np.testing.assert_array_equal(np.diagonal(routed[1]), 1)
    assert (routed[0] != routed[1]).any()
    assert ((routed[1] >= 0) & (routed[1] <= 1)).all()
