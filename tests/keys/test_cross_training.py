"""Training a cross-encoder, and fitting it to what keys leave in doubt."""

import dataclasses

import numpy as np
import pytest
import torch

from sola_scale.errors import CalibrationError
from sola_scale.keys import cross_fitting, cross_training
from sola_scale.keys.corpus import ASKED, Corpus
from sola_scale.keys.cross_encoder import Blend, CrossEncoder, CrossReader
from sola_scale.keys.cross_fitting import DOUBT, Doubts, fit_cross_encoder, settle
from sola_scale.keys.cross_training import CrossConfig, LabelledPairs, Trained, train
from sola_scale.keys.problems import Problems
from sola_scale.keys.scorer import sigmoid
from tests.keys.crossed import spelled_of

TINY = CrossConfig(depth=2, lowest=0, rank=4, batch=8)
TEXTS, PROBLEMS, CANDIDATES, RELATIONS, FIRST = 200, 1000, 4, 24, 20


def toy_pairs(seed, count):
    """Texts, and pairs of them that ask the same if their last tokens are equal."""
    rng = np.random.default_rng(seed)
    last_N = rng.integers(0, 2, 60)
    texts_N = [[*rng.integers(30, 250, rng.integers(1, 3)).tolist(), 20 + int(last)] for last in last_N]
    left_P, right_P = rng.integers(0, 60, (2, count))
    return texts_N, LabelledPairs(left_P, right_P, last_N[left_P] == last_N[right_P])


def trained(backbone, texts_N, pairs, *, seed=0, config=TINY, **further):
    return train(backbone, texts_N, pairs, separator=2, config=config, seed=seed, **further)


def encoder_of(made, *, blend=Blend(0.0, 1.0, 0.0), doubt=DOUBT):  # noqa: B008
    """What was trained, as a cross-encoder."""
    return CrossEncoder(
        depth=2,
        separator=2,
        adapters=made.adapters,
        head_D=made.head_D,
        bias=made.bias,
        doubt=doubt,
        blend=blend,
    )


def auc(logit_P, label_P):
    """Share of all pairs of a right and a wrong one in which the right one has the higher logit."""
    return (logit_P[label_P][:, None] > logit_P[~label_P]).mean()


def arrays(made):
    return [array for path in sorted(made.adapters) for array in made.adapters[path]] + [made.head_D]


def test_training_learns_what_the_pairs_teach(backbone):
    """After a pass over some thousand pairs, held ones of other texts are told apart far better than by chance."""
    cross = encoder_of(trained(backbone, *toy_pairs(0, 3000)))
    texts_N, held = toy_pairs(100, 300)
    logit_P = CrossReader(cross, backbone).logits(
        [texts_N[one] for one in held.left_P], [texts_N[one] for one in held.right_P]
    )
    assert auc(logit_P, held.label_P) > 0.8


def test_equal_seeds_train_equal_adapters(backbone):
    """Training twice with one seed gives the same bits, whatever else was drawn before; another seed gives others."""
    pairs, made = toy_pairs(0, 60), []
    for place, seed in enumerate((0, 0, 1)):
        torch.manual_seed(place)
        made.append(trained(backbone, *pairs, seed=seed))
    first, again, other = made
    assert sorted(first.adapters) == sorted(other.adapters)
    assert first.bias == again.bias
    for one, same, different in zip(*map(arrays, (first, again, other)), strict=True):
        np.testing.assert_array_equal(one, same)
        assert (one != different).any()


def test_every_adapter_is_trained(backbone):
    """No second matrix stays as it starts, at zero, and none is of another rank or format."""
    made = trained(backbone, *toy_pairs(0, 60))
    assert {path.partition(".")[0] for path in made.adapters} == {"0", "1"}
    for down_RI, up_OR in made.adapters.values():
        assert len(down_RI) == up_OR.shape[1] == TINY.rank
        assert down_RI.dtype == up_OR.dtype == np.float16
        assert up_OR.any()


def test_nothing_else_is_touched(backbone):
    """Training leaves the model's weights, what it says, and torch's random numbers as they were."""
    before = {name: weight.clone() for name, weight in backbone.model.state_dict().items()}
    torch.manual_seed(99)
    random_state = torch.random.get_rng_state()
    with torch.inference_mode():
        trained(backbone, *toy_pairs(0, 30))
    assert torch.equal(torch.random.get_rng_state(), random_state)
    after = backbone.model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not any(one.requires_grad or one.grad is not None for one in backbone.model.parameters())


def test_every_pair_is_used_once_at_most(backbone, monkeypatch):
    """Of more pairs than asked for some are drawn, none of them twice, and progress counts to the end."""
    texts_N = [[20 + number] for number in range(100)]
    read, told = [], []
    joined = cross_training.joined
    monkeypatch.setattr(
        cross_training, "joined", lambda *both: read.append(frozenset([*both[0], *both[1]])) or joined(*both)
    )
    pairs = LabelledPairs(np.arange(50), np.arange(50, 100), np.arange(50) % 2 == 0)
    config = dataclasses.replace(TINY, pairs=37)
    trained(backbone, texts_N, pairs, config=config, progress=lambda *counts: told.append(counts))
    assert len(read) == len(set(read)) == 37
    assert set(read) <= {frozenset([20 + number, 70 + number]) for number in range(50)}
    assert told == [(step, 5) for step in range(1, 6)]


@pytest.mark.parametrize("pairs", [1, 2, 19, 20, 21])
def test_any_number_of_pairs_can_be_trained_on(backbone, pairs):
    """However many steps the pairs make, training goes through."""
    config = dataclasses.replace(TINY, batch=1)
    told = []
    trained(backbone, *toy_pairs(0, pairs), config=config, progress=lambda *counts: told.append(counts))
    assert told[-1] == (pairs, pairs)


def test_a_configuration_fits_any_depth():
    """The default model gets the default proportions, and a model of any depth layers that it has."""
    assert CrossConfig.of(30) == CrossConfig()
    for layers in range(1, 100):
        config = CrossConfig.of(layers)
        assert 0 <= config.lowest < config.depth <= layers


def doubts_of(seed=0, *, label_Qk=None):
    """Problems with logits that know something of the labels; text i is spelled with one token of its own."""
    rng = np.random.default_rng(seed)
    shape = (PROBLEMS, CANDIDATES)
    corpus = Corpus(
        texts=tuple(map(str, range(TEXTS))),
        question_N=np.arange(TEXTS),
        subject_N=np.arange(TEXTS),
        relation_N=np.arange(TEXTS) % RELATIONS,
        kind_N=np.full(TEXTS, -1),
        role_N=np.full(TEXTS, ASKED),
        prompt_N=np.ones(TEXTS, np.bool_),
    )
    query_Q = rng.integers(0, TEXTS, PROBLEMS)
    candidate_Qk = (query_Q[:, None] + rng.integers(1, TEXTS, shape)) % TEXTS
    pair_Qk, verdict_Qk = (rng.normal(size=shape).astype(np.float32) * 3 for _ in range(2))
    if label_Qk is None:
        label_Qk = rng.random(shape) < sigmoid(verdict_Qk)
    problems = Problems(
        query_Q=query_Q,
        candidate_Qk=candidate_Qk,
        distance_Qk=np.ones(shape, np.float32),
        label_Qk=label_Qk,
        known_Q=np.ones(PROBLEMS, np.bool_),
    )
    spelled = spelled_of([[FIRST + text] for text in range(TEXTS)])
    return Doubts(corpus, problems, spelled, pair_Qk, verdict_Qk, np.ones(shape, np.float32))


@pytest.fixture
def untrained(monkeypatch):
    """In place of training: notes what it is asked to do, and gives a cross-encoder of no adapters."""
    asked = []

    def note(backbone, texts_N, pairs, **settings):
        asked.append((texts_N, pairs, settings))
        return Trained({}, np.full(backbone.architecture.width, 0.1, np.float32), 0.5)

    monkeypatch.setattr(cross_fitting, "train", note)
    return asked


@pytest.fixture
def read_NN(monkeypatch):
    """In place of reading: the logit of every two texts."""
    logit_NN = np.random.default_rng(9).normal(size=(TEXTS, TEXTS)).astype(np.float32) * 2

    def logits(_reader, left, right):
        rows, columns = ([one - FIRST for (one,) in prompts] for prompts in (left, right))
        return logit_NN[rows, columns]

    monkeypatch.setattr(CrossReader, "logits", logits)
    return logit_NN


PLAIN = encoder_of(Trained({}, np.zeros(64, np.float32), 0.0))


def test_only_doubtful_pairs_of_open_relations_are_trained_on(backbone, untrained):
    """Trained on is each pair that the matchers doubt, with its label, unless its query's relation is kept."""
    doubts = doubts_of()
    look = fit_cross_encoder(backbone, doubts, config=TINY)
    ((texts_N, pairs, settings),) = untrained
    problems, (low, high) = doubts.problems, DOUBT
    rows_P, places_P = np.nonzero(~look.kept_Q[:, None] & (doubts.pair_Qk > low) & (doubts.pair_Qk < high))
    np.testing.assert_array_equal(pairs.left_P, problems.query_Q[rows_P])
    np.testing.assert_array_equal(pairs.right_P, problems.candidate_Qk[rows_P, places_P])
    np.testing.assert_array_equal(pairs.label_P, problems.label_Qk[rows_P, places_P])
    assert texts_N == [[FIRST + text] for text in range(TEXTS)]
    assert settings["separator"] == look.cross.separator == backbone.end_of_turn


def test_relations_are_kept_whole(backbone, untrained):
    """One relation in six is kept, with all of its problems: none of their queries is trained on."""
    doubts = doubts_of()
    look = fit_cross_encoder(backbone, doubts, config=TINY)
    relation_Q = doubts.corpus.relation_N[doubts.problems.query_Q]
    kept, trained_on = set(relation_Q[look.kept_Q]), set(doubts.corpus.relation_N[untrained[0][1].left_P])
    assert len(kept) == RELATIONS / 6
    assert not kept & set(relation_Q[~look.kept_Q])
    assert not kept & trained_on
    assert len(kept | trained_on) == RELATIONS


def test_another_seed_keeps_other_relations(backbone, untrained):
    """Which relations are kept follows the seed, and nothing else."""
    kept = [fit_cross_encoder(backbone, doubts_of(), config=TINY, seed=seed).kept_Q for seed in (0, 0, 1)]
    np.testing.assert_array_equal(kept[0], kept[1])
    assert (kept[0] != kept[2]).any()


def test_a_text_is_not_trained_against_itself(backbone, untrained):
    """A problem whose candidate is its own query teaches nothing."""
    doubts = doubts_of()
    doubts.problems.candidate_Qk[:, 0] = doubts.problems.query_Q
    fit_cross_encoder(backbone, doubts, config=TINY)
    pairs = untrained[0][1]
    assert (pairs.left_P != pairs.right_P).all()
    assert len(pairs.left_P) > 500


def test_settling_changes_only_doubtful_verdicts_of_kept_problems(backbone, read_NN):
    """Verdicts beyond doubt or of problems that are not kept keep every bit; the others are the blend of both logits."""
    doubts, kept_Q = doubts_of(), np.arange(PROBLEMS) % 3 == 0
    look = settle(backbone, PLAIN, doubts, kept_Q)
    verdict_Qk, problems = doubts.verdict_Qk, doubts.problems
    changes_Qk = kept_Q[:, None] & (verdict_Qk > DOUBT[0]) & (verdict_Qk < DOUBT[1])
    np.testing.assert_array_equal(look.settled_Qk[~changes_Qk], verdict_Qk[~changes_Qk])
    read_Qk = read_NN[problems.query_Q[:, None], problems.candidate_Qk]
    expected_Qk = look.cross.blend(verdict_Qk, read_Qk)
    np.testing.assert_allclose(look.settled_Qk[changes_Qk], expected_Qk[changes_Qk], atol=1e-5)
    assert (look.settled_Qk != verdict_Qk)[changes_Qk].all()
    np.testing.assert_array_equal(look.kept_Q, kept_Q)


def drawn_from(doubts, blend, read_NN, seed=1):
    """The same problems with labels drawn from a blend of both logits."""
    read_Qk = read_NN[doubts.problems.query_Q[:, None], doubts.problems.candidate_Qk]
    drawn_Qk = np.random.default_rng(seed).random(read_Qk.shape)
    label_Qk = drawn_Qk < sigmoid(blend(doubts.verdict_Qk, read_Qk))
    return doubts._replace(problems=dataclasses.replace(doubts.problems, label_Qk=label_Qk))


@pytest.mark.parametrize("blend", [Blend(0.4, 0.8, -0.3), Blend(1.0, 0.0, 1.0), Blend(0.0, 1.5, 0.0)])
def test_the_blend_is_found_again(backbone, read_NN, blend):
    """Where labels were drawn from a blend of both logits, that blend is found."""
    doubts = drawn_from(doubts_of(), blend, read_NN)
    look = settle(backbone, PLAIN, doubts, np.ones(PROBLEMS, np.bool_))
    np.testing.assert_allclose(look.cross.blend, blend, atol=0.25)


def test_what_weighs_nothing_does_not_move_the_blend(backbone, read_NN):
    """Labels that are turned round where the weight is zero leave the blend as it is; at full weight they move it."""
    doubts = drawn_from(doubts_of(), Blend(0.4, 0.8, -0.3), read_NN)
    turned = dataclasses.replace(doubts.problems, label_Qk=doubts.problems.label_Qk.copy())
    turned.label_Qk[:, 0] ^= True
    weight_Qk = doubts.weight_Qk.copy()
    weight_Qk[:, 0] = 0
    kept_Q = np.ones(PROBLEMS, np.bool_)
    light = settle(backbone, PLAIN, doubts._replace(weight_Qk=weight_Qk), kept_Q).cross.blend
    lightly_turned = doubts._replace(problems=turned, weight_Qk=weight_Qk)
    np.testing.assert_allclose(settle(backbone, PLAIN, lightly_turned, kept_Q).cross.blend, light, atol=1e-6)
    turned_blend = settle(backbone, PLAIN, doubts._replace(problems=turned), kept_Q).cross.blend
    assert turned_blend.cross < light.cross - 0.1


def test_too_little_doubt_is_refused(backbone, untrained):
    """With too few doubtful pairs of either label there is nothing to learn from, and nothing is trained."""
    doubts = doubts_of()
    sure = doubts._replace(pair_Qk=np.full_like(doubts.pair_Qk, 9))
    for some in (sure, *(doubts_of(label_Qk=np.full(sure.pair_Qk.shape, label)) for label in (False, True))):
        with pytest.raises(CalibrationError, match="too few"):
            fit_cross_encoder(backbone, some, config=TINY)
    assert not untrained


@pytest.mark.parametrize("label", [False, True])
def test_nothing_to_tell_apart_is_refused(backbone, read_NN, label):
    """Where all that is in doubt has one label, no blend can be found."""
    doubts = doubts_of(label_Qk=np.full((PROBLEMS, CANDIDATES), label))
    with pytest.raises(CalibrationError, match="too little"):
        settle(backbone, PLAIN, doubts, np.ones(PROBLEMS, np.bool_))


def test_no_doubt_at_all_is_refused(backbone, read_NN):
    """Where no verdict of a kept problem is in doubt, no blend can be found."""
    with pytest.raises(CalibrationError, match="too little"):
        settle(backbone, PLAIN, doubts_of(), np.zeros(PROBLEMS, np.bool_))
