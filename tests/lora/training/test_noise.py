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
    for one, other in zip(drawn, again, strict=True):
        assert one.shape == (3, 4, 2)
        assert not one[1].any()
        assert torch.equal(one[[2, 0]], other)
        assert not torch.equal(one[0], one[2])


def test_noise_has_its_size(backbone: Backbone, layout: AdapterLayout, batch: SuffixBatch) -> None:
    """Its standard deviation over many draws is the one asked for."""
    noise = GateNoise(backbone, layout, 0.2)
    drawn = [noise.add(batch, [draw, draw + 1, draw + 2]).noise_RSr for draw in range(0, 300, 3)]
    numbers = torch.cat([one.flatten() for maps in drawn for one in maps or ()])
    assert float(numbers.std()) == pytest.approx(0.2, rel=0.05)


def test_noise_is_added_to_what_a_makes(ground: Ground, batch: SuffixBatch) -> None:
    """With A of zeros an edit does nothing unless there is noise; with B of zeros noise does nothing either."""
    ones = tuple(torch.ones((3, 4, 2), dtype=torch.float64) for _ in range(2))
    noisy = dataclasses.replace(batch, noise_RSr=ones)
    widths = [one.inside_HW.shape[1] for one in ground.variation.maps]
    nothing = [torch.zeros((3, 2, width), dtype=torch.float64) for width in widths]
    something = [torch.ones((3, 2, batch.hidden_RSD.shape[2]), dtype=torch.float64) for _ in widths]
    silent = [torch.zeros_like(one) for one in something]
    plain = ground.runner.run(batch, nothing, something)
    assert torch.equal(ground.runner.run(noisy, nothing, silent), plain)
    assert not torch.equal(ground.runner.run(noisy, nothing, something), plain)
