"""Matchers: fitted with torch, used as plain arrays."""

import numpy as np
import pytest
import torch

from sola_scale.keys.evidence import Evidence, listwise_features, rivalry, verdict
from sola_scale.keys.matcher import compare, cosines
from sola_scale.keys.matching import Examples, _Network, fit_matcher
from sola_scale.keys.whitening import Whitening

TEXTS, VIEWS, WIDTH = 60, 3, 24


@pytest.fixture
def views() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(TEXTS, VIEWS, WIDTH)).astype(np.float32)


@pytest.fixture
def whitening(views) -> Whitening:
    return Whitening.of(views, [0, 2])


@pytest.fixture
def examples() -> Examples:
    """Questions of pairs of texts; the label is whether both have an even number."""
    rng = np.random.default_rng(1)
    query, candidates = rng.integers(TEXTS, size=40), rng.integers(TEXTS, size=(40, 4))
    label = (query[:, None] % 2 == 0) & (candidates % 2 == 0)
    return Examples(
        query, candidates, rng.random((40, 4, 5), dtype=np.float32), label, np.ones((40, 4), np.float32)
    )


def test_the_arrays_give_what_the_network_gave(views, whitening, examples):
    """The encoder and the pair scorer made of a network give its logits."""
    torch.manual_seed(0)
    network = _Network(2, whitening.matrix_EDP.shape[2], 5).eval()
    white = whitening(views).float()
    with torch.no_grad():
        wanted = network(white, *(torch.from_numpy(part) for part in examples[:3])).numpy()
    matcher = network.matcher(whitening)
    encoded = matcher.encoder(views)
    found = matcher.logits(
        examples.given_QkG, compare(encoded[examples.query_Q, None], encoded[examples.candidate_Qk])
    )
    np.testing.assert_allclose(found, wanted, atol=5e-3)


def test_the_same_seed_fits_the_same_matcher(views, whitening, examples):
    """Equal input and seed give equal arrays, another seed others."""
    first, again, other = (
        fit_matcher(whitening(views), whitening, examples, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.encoder.outer_HZ, again.encoder.outer_HZ)
    assert (first.encoder.outer_HZ != other.encoder.outer_HZ).any()


def test_the_callers_random_state_and_threads_stay(views, whitening, examples):
    """Fitting draws from a stream of its own and gives the threads back."""
    torch.manual_seed(5)
    wanted, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    fit_matcher(whitening(views), whitening, examples, seed=0)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads


def test_whitened_views_have_unit_variance_and_no_correlation(views, whitening):
    """Every direction of a whitened view varies by one and with no other."""
    white = whitening(views).float().numpy()[:, 1]
    np.testing.assert_allclose(np.cov(white.T), np.eye(WIDTH), atol=0.02)


def test_comparing_is_symmetric():
    """Cosine, distances and products do not know which of two encodings came first."""
    left, right = np.random.default_rng(2).normal(size=(2, 7, 6)).astype(np.float32)
    np.testing.assert_allclose(compare(left, right), compare(right, left), atol=1e-6)
    np.testing.assert_allclose(cosines(left, left), 1, atol=1e-6)


def test_alike_candidates_and_keys_of_one_edit_do_not_compete():
    """Rivals are the real candidates of other edits, the less alike the more."""
    among = np.array([[[1.0, 0.9, -1.0], [0.9, 1.0, 0.2], [-1.0, 0.2, 1.0]]], np.float32)
    groups, mask = np.array([[1, 2, 2]]), np.array([[True, True, True]])
    found = rivalry(among, groups, mask)[0]
    np.testing.assert_allclose(found, [[0, 0.1, 1], [0.1, 0, 0], [1, 0, 0]], atol=1e-6)
    assert not rivalry(among, groups, np.array([[True, False, False]]))[0, 0].any()


def test_a_candidate_without_rivals_leads_the_likeness_of_strangers():
    """Alone, what a candidate leads by is what it is like."""
    evidence = Evidence(
        given_BkG=np.full((1, 2, 3), 0.5, np.float32),
        logit_Bk=np.zeros((1, 2), np.float32),
        cosine_Bk=np.full((1, 2), 0.25, np.float32),
        among_Bkk=np.ones((1, 2, 2), np.float32),
    )
    alone = listwise_features(evidence, np.zeros((1, 2, 2), np.float32))
    np.testing.assert_allclose(alone[0, 0], [0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.25, 0.5, 0.5, 0.5])


def test_both_logits_make_the_verdict():
    """The verdict lies between what the pair and what the list says."""
    pair, listed = np.float32([4, -2]), np.float32([0, 2])
    assert (np.sort([pair, listed], axis=0)[0] <= verdict(pair, listed)).all()
    assert (verdict(pair, listed) <= np.sort([pair, listed], axis=0)[1]).all()
