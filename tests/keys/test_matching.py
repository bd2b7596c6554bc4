"""Matchers: fitted with torch, used as plain arrays."""

import threading

import numpy as np
import pytest
import torch

from sola_scale.backbone.reading import DIGIT
from sola_scale.keys import matching
from sola_scale.keys.alignment import Spelled
from sola_scale.keys.evidence import Evidence, listwise_features, rivalry, verdict
from sola_scale.keys.matcher import compare, cosines
from sola_scale.keys.matching import Examples, Fit, Texts, _asked, _Network, _train, fit_matchers
from sola_scale.keys.teaching import Lessons
from sola_scale.keys.whitening import Whitening

TEXTS, VIEWS, WIDTH = 60, 3, 24
ALL = np.ones(40, np.bool_)


VOCABULARY = 30


@pytest.fixture
def views() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(TEXTS, VIEWS, WIDTH)).astype(np.float32)


@pytest.fixture
def texts(views) -> Texts:
    rng = np.random.default_rng(3)
    there = np.arange(5) < rng.integers(1, 6, size=TEXTS)[:, None]
    token = rng.integers(VOCABULARY, size=there.shape) * there
    whitening = Whitening.of(views, [0, 2], np.arange(TEXTS) % 6)
    return Texts(
        white_NEP=whitening(views),
        whitening=whitening,
        spelled=Spelled(token, (rng.random(there.shape) < 0.4) & there, there),
        token_view=1,
        places=5,
        embedding_ND=torch.from_numpy(rng.normal(size=(VOCABULARY, 16)).astype(np.float32)),
        lessons=Lessons(np.arange(TEXTS) % 6 - 1, np.array([0, 0, 0, 1, 1])),
    )


@pytest.fixture
def examples() -> Examples:
    """Questions of pairs of texts; the label is whether both have an even number."""
    rng = np.random.default_rng(1)
    query, candidates = rng.integers(TEXTS, size=40), rng.integers(TEXTS, size=(40, 4))
    label = (query[:, None] % 2 == 0) & (candidates % 2 == 0)
    return Examples(
        query, candidates, rng.random((40, 4, 5), dtype=np.float32), label, np.ones((40, 4), np.float32)
    )


def _digits(spelled: Spelled) -> np.ndarray:
    """The view of tokens, as `Reading` writes it."""
    high = (spelled.token // DIGIT + 1) * spelled.there * np.where(spelled.name, -1, 1)
    return np.stack([high, spelled.token % DIGIT], axis=-1).reshape(len(high), -1)


def test_the_arrays_give_what_the_networks_gave(views, texts, examples):
    """Encoder, pair scorer and alignment made of a network give its logits."""
    torch.manual_seed(0)
    network = _Network(texts, 5, 2).eval()
    with torch.no_grad():
        wanted = network(*(torch.from_numpy(part) for part in examples[:3]))
    align = network.align.alignment(1, 5)
    tokens = align.read(_digits(texts.spelled))
    query, candidates = examples.query_Q, examples.candidate_Qk
    given = np.concatenate(
        [examples.given_QkG, align.likeness(tokens.at(query).at(slice(None), None), tokens.at(candidates))],
        axis=-1,
    )
    for member, logits in zip(network.members, wanted, strict=True):
        matcher = member.matcher(texts.whitening)
        encoded = matcher.encoder(views)
        found = matcher.logits(given, compare(encoded[query, None], encoded[candidates]))
        np.testing.assert_allclose(found, logits.numpy(), atol=5e-3)


def test_the_same_seed_fits_the_same_matchers(texts, examples):
    """Equal input and seed give equal arrays, another seed others; members differ."""
    (first,), (again,), (other,) = (fit_matchers(texts, examples, [Fit(ALL, 2, seed)]) for seed in (3, 3, 4))
    weights = [one.encoder.outer_HZ for fitted in (first, again, other) for one in fitted.matchers]
    np.testing.assert_array_equal(weights[0], weights[2])
    np.testing.assert_array_equal(first.alignment.vector_NA, again.alignment.vector_NA)
    assert (weights[0] != weights[4]).any()
    assert (weights[0] != weights[1]).any()


@pytest.mark.usefixtures("three_threads")
def test_fits_beside_one_another_are_those_one_after_the_other(texts, examples):
    """What else is fitted at the time, and on how many threads, changes nothing."""
    fits = [Fit(ALL, 2, 3), Fit(examples.query_Q % 3 > 0, 1, 4), Fit(ALL, 1, 5)]
    beside = fit_matchers(texts, examples, fits)
    torch.set_num_threads(1)
    alone = [fit_matchers(texts, examples, [fit])[0] for fit in fits]
    for one, other in zip(beside, alone, strict=True):
        np.testing.assert_array_equal(one.alignment.vector_NA, other.alignment.vector_NA)
        for left, right in zip(one.matchers, other.matchers, strict=True):
            np.testing.assert_array_equal(left.encoder.outer_HZ, right.encoder.outer_HZ)
            np.testing.assert_array_equal(left.pair.weights[0], right.pair.weights[0])


@pytest.mark.usefixtures("three_threads")
def test_what_goes_wrong_in_one_fit_stops_the_others(texts, examples, monkeypatch):
    """The error is raised, and no other fit is brought to its end."""
    begun, ended = threading.Event(), []

    def train(network, some, generator):
        if len(some.query_Q) < len(examples.query_Q):
            assert begun.wait(60)
            raise ArithmeticError
        begun.set()
        try:
            for _ in range(100_000):
                _train(network, some, generator)
        finally:
            ended.append("early")

    monkeypatch.setattr(matching, "_train", train)
    with pytest.raises(ArithmeticError):
        fit_matchers(texts, examples, [Fit(ALL, 1, 0), Fit(examples.query_Q % 3 > 0, 1, 4)])
    assert ended == ["early"]


def test_members_come_by_their_encoders_in_three_ways(texts, examples):
    """The first is taught and fitted on, the second is not taught, the third is taught and left as it is."""
    torch.manual_seed(0)
    network = _Network(texts, 5, 3)
    before = [member.encode.outer.weight.clone() for member in network.members]
    network.teach(texts.lessons, torch.Generator().manual_seed(0))
    taught = [member.encode.outer.weight.clone() for member in network.members]
    assert [not torch.equal(*both) for both in zip(before, taught, strict=True)] == [True, False, True]
    _train(network, examples, torch.Generator().manual_seed(0))
    fitted = [member.encode.outer.weight for member in network.members]
    assert [not torch.equal(*both) for both in zip(taught, fitted, strict=True)] == [True, True, False]


def test_what_no_problem_asks_for_is_not_taught(texts, examples):
    """Relations of which no query is left are kept from the encoders too."""
    kept = examples.only(texts.lessons.relation_N[examples.query_Q] == 2)
    lessons = _asked(texts.lessons, kept)
    assert set(lessons.relation_N.tolist()) == {-1, 2}


def test_the_callers_random_state_and_threads_stay(texts, examples):
    """Fitting draws from a stream of its own, in inference mode too, and gives the threads back."""
    torch.manual_seed(5)
    wanted, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    with torch.inference_mode():
        fit_matchers(texts, examples, [Fit(ALL, 1, 0)])
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads


def test_whitened_views_vary_alike_inside_relations_and_part_them():
    """However views are stretched, whitened ones vary by about one inside a relation, and most between relations at first."""
    rng = np.random.default_rng(4)
    relation = np.arange(3000) % 5
    views = rng.normal(size=(3000, 1, 8)) * np.array([50, 20, 10, 5, 3, 2, 1, 0.5])
    views[:, 0, 6] += relation * 0.8
    white = Whitening.of(views.astype(np.float32), [0], relation)(views).float().numpy()[:, 0]
    inside = np.concatenate(
        [white[relation == one] - white[relation == one].mean(axis=0) for one in range(5)]
    )
    np.testing.assert_allclose(np.cov(inside.T), np.eye(8), atol=0.3)
    means = np.stack([white[relation == one].mean(axis=0) for one in range(5)])
    assert means[:, 0].std() > 10 * means[:, 1:].std(axis=0).max()


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
