"""Fitting: determinism, refusals, thresholds."""

import numpy as np
import pytest

from sola_scale.errors import CalibrationError
from sola_scale.keys.corpus import ASKED, corpus_of
from sola_scale.keys.judging import choose_threshold
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
