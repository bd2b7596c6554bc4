"""Noise at the gates: who gets it, that it is the same whatever the batch, and what it does to a run."""

import dataclasses

import pytest
import torch

from sola_scale.backbone import Backbone
from sola_scale.backbone.suffix import SuffixBatch
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training.ground import Ground
from sola_scale.lora.training.noise import GateNoise
from tests.tiny import tiny_backbone

SEQUENCES = [([1, 2, 3, 4], [5, 6]), ([7, 8], [9]), ([3, 1, 2], [4, 4, 4])]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """A tiny model that computes in float64."""
    return tiny_backbone(dtype=torch.float64)


@pytest.fixture(scope="module")
def layout(backbone: Backbone) -> AdapterLayout:
    """Its last two layers' output maps at rank 2."""
    return AdapterLayout.of(backbone, [backbone.architecture.module_path(layer) for layer in (2, 3)], rank=2)


@pytest.fixture(scope="module")
def ground(backbone: Backbone, layout: AdapterLayout) -> Ground:
    """What is below and above these maps."""
    return Ground(backbone, layout.paths, ())


@pytest.fixture(scope="module")
def batch(ground: Ground) -> SuffixBatch:
    """Three rows of unlike length."""
    return ground.runner.stack(ground.capture.run(SEQUENCES))


def test_only_rows_that_draw_are_noisy(backbone: Backbone, layout: AdapterLayout, batch: SuffixBatch) -> None:
    """A row without a draw gets none, one with a draw gets the same at whatever place in whatever batch."""
    noise = GateNoise(backbone, layout, 0.2)
    drawn = noise.add(batch, [5, None, 7]).noise_RSr
    again = noise.add(batch.select(torch.tensor([2, 0])), [7, 5]).noise_RSr
    assert drawn is not None
    assert again is not None
    for (gain, more), (other_gain, other_more) in zip(drawn, again, strict=True):
        assert gain.shape == (3, 4, 1)
        assert more.shape == (3, 4, 2)
        assert (gain[1] == 1).all()
        assert not more[1].any()
        assert torch.equal(gain[[2, 0]], other_gain)
        assert torch.equal(more[[2, 0]], other_more)
        assert not torch.equal(more[0], more[2])


def test_noise_has_its_size(backbone: Backbone, layout: AdapterLayout, batch: SuffixBatch) -> None:
    """What is added has the standard deviation asked for; gates open less far, and hardly ever further."""
    noise = GateNoise(backbone, layout, 0.2)
    drawn = [noise.add(batch, [draw, draw + 1, draw + 2]).noise_RSr for draw in range(0, 300, 3)]
    more = torch.cat([one.flatten() for maps in drawn for _, one in maps or ()])
    gains = torch.cat([one.flatten() for maps in drawn for one, _ in maps or ()])
    assert float(more.std()) == pytest.approx(0.2, rel=0.05)
    assert float(gains.mean()) == pytest.approx(0.9, rel=0.05)


def test_noise_acts_on_what_a_makes(ground: Ground, batch: SuffixBatch) -> None:
    """With A of zeros an edit does nothing unless there is noise; with B of zeros noise does nothing either."""
    one = (torch.ones((3, 4, 1), dtype=torch.float64), torch.ones((3, 4, 2), dtype=torch.float64))
    noisy = dataclasses.replace(batch, noise_RSr=(one, one))
    widths = [stream.inside_HW.shape[1] for stream in ground.variation.maps]
    nothing = [torch.zeros((3, 2, width), dtype=torch.float64) for width in widths]
    something = [torch.ones((3, 2, batch.hidden_RSD.shape[2]), dtype=torch.float64) for _ in widths]
    silent = [torch.zeros_like(one) for one in something]
    plain = ground.runner.run(batch, nothing, something)
    assert torch.equal(ground.runner.run(noisy, nothing, silent), plain)
    assert not torch.equal(ground.runner.run(noisy, nothing, something), plain)


def test_gates_that_stay_shut_say_nothing(ground: Ground, batch: SuffixBatch) -> None:
    """Where noise leaves nothing of the gates' answers the model is the base model."""
    shut = (torch.zeros((3, 4, 1), dtype=torch.float64), torch.zeros((3, 4, 2), dtype=torch.float64))
    open_ = [
        torch.ones((3, 2, stream.inside_HW.shape[1]), dtype=torch.float64) for stream in ground.variation.maps
    ]
    something = [torch.ones((3, 2, batch.hidden_RSD.shape[2]), dtype=torch.float64) for _ in open_]
    silent = [torch.zeros_like(one) for one in something]
    noisy = dataclasses.replace(batch, noise_RSr=(shut, shut))
    assert torch.equal(ground.runner.run(noisy, open_, something), ground.runner.run(batch, open_, silent))
