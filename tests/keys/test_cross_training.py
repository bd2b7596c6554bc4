"""Training a cross-encoder."""

import dataclasses

import numpy as np
import pytest
import torch

from sola_scale.errors import CalibrationError
from sola_scale.keys import cross_training
from sola_scale.keys.cross_encoder import CrossReader
from sola_scale.keys.cross_training import CrossConfig, LabelledPairs, train
from tests.keys.crossed import TINY, encoder_of


def toy_pairs(seed, count):
    """Texts, and pairs of them that ask the same if their last tokens are equal."""
    rng = np.random.default_rng(seed)
    last_N = rng.integers(0, 2, 60)
    texts_N = [[*rng.integers(30, 250, rng.integers(1, 3)).tolist(), 20 + int(last)] for last in last_N]
    left_P, right_P = rng.integers(0, 60, (2, count))
    return texts_N, LabelledPairs(left_P, right_P, last_N[left_P] == last_N[right_P])


def trained(backbone, texts_N, pairs, *, seed=0, config=TINY, **further):
    return train(backbone, texts_N, pairs, separator=2, config=config, seed=seed, **further)


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


@pytest.mark.parametrize("passes", [1, 3])
def test_every_pair_is_used_once_a_pass_at_most(backbone, monkeypatch, passes):
    """Of more pairs than asked for each pass draws others, none of them twice, and progress counts to the end."""
    texts_N = [[20 + number] for number in range(100)]
    read, told = [], []
    joined = cross_training.joined
    monkeypatch.setattr(
        cross_training, "joined", lambda *both: read.append(frozenset([*both[0], *both[1]])) or joined(*both)
    )
    pairs = LabelledPairs(np.arange(50), np.arange(50, 100), np.arange(50) % 2 == 0)
    config = dataclasses.replace(TINY, pairs=37, passes=passes)
    trained(backbone, texts_N, pairs, config=config, progress=lambda *counts: told.append(counts))
    assert len(read) == 37 * passes
    every = [set(read[37 * number : 37 * (number + 1)]) for number in range(passes)]
    assert [len(one) for one in every] == [37] * passes
    assert len({frozenset(one) for one in every}) == passes
    assert set(read) <= {frozenset([20 + number, 70 + number]) for number in range(50)}
    assert told == [(step, 5 * passes) for step in range(1, 5 * passes + 1)]


def test_large_steps_go_further(backbone, monkeypatch):
    """Rates go with the root of how many pairs a step has, and are what they are called at the default."""
    rates = []

    class Noted(cross_training.Descent):
        def __init__(self, groups, **further):
            rates.append([group["lr"] for group in groups])
            super().__init__(groups, **further)

    monkeypatch.setattr(cross_training, "Descent", Noted)
    for batch in (CrossConfig().batch, 4 * CrossConfig().batch):
        trained(backbone, *toy_pairs(0, 20), config=dataclasses.replace(TINY, batch=batch))
    default, larger = rates
    assert default == [cross_training._DOWN_RATE, cross_training._UP_RATE, cross_training._HEAD_RATE]
    np.testing.assert_allclose(larger, 2 * np.array(default))


@pytest.mark.parametrize("pairs", [1, 2, 19, 20, 21])
def test_any_number_of_pairs_can_be_trained_on(backbone, pairs):
    """However many steps the pairs make, training goes through."""
    config = dataclasses.replace(TINY, batch=1)
    told = []
    trained(backbone, *toy_pairs(0, pairs), config=config, progress=lambda *counts: told.append(counts))
    assert told[-1] == (pairs, pairs)


@pytest.mark.parametrize(
    "settings",
    [{"depth": 6}, {"lowest": -1}, {"rank": 0}, {"pairs": 0}, {"passes": 0}, {"batch": 0}],
    ids=str,
)
def test_a_configuration_that_trains_nothing_is_refused(settings):
    """Adapters need layers, a rank, and pairs."""
    with pytest.raises(CalibrationError, match="trained so"):
        CrossConfig(**settings)


def test_a_configuration_fits_any_depth():
    """The default model gets the default proportions, and a model of any depth layers that it has."""
    assert CrossConfig.of(30) == CrossConfig()
    for layers in range(1, 100):
        config = CrossConfig.of(layers)
        assert 0 <= config.lowest < config.depth <= layers
