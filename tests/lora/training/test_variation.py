"""The variation of wordings: what is measured of it, and what a disturbance does to a row."""

import pytest
import torch

from sola_scale.backbone import Backbone
from sola_scale.backbone.suffix import SuffixBatch
from sola_scale.lora.training.ground import Ground
from sola_scale.lora.training.reference import REFERENCE_TEXTS
from sola_scale.lora.training.variation import Variation
from tests.tiny import tiny_backbone

SEQUENCES = [([1, 2, 3, 4], [5, 6]), ([7, 8], [9]), ([3, 1, 2], [4, 4, 4])]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """A tiny model that computes in float64."""
    return tiny_backbone(dtype=torch.float64)


@pytest.fixture(scope="module")
def ground(backbone: Backbone) -> Ground:
    """Its last two layers' output maps."""
    return Ground(backbone, [backbone.architecture.module_path(layer) for layer in (2, 3)], ())


@pytest.fixture(scope="module")
def batch(ground: Ground) -> SuffixBatch:
    """Three rows of unlike length."""
    return ground.runner.stack(ground.capture.run(SEQUENCES))


def test_prompts_deviate_about_their_mean(ground: Ground) -> None:
    """Deviations at the positions of an answer cancel out over the prompts that it follows."""
    for stream in ground.variation.maps:
        assert len(stream.ends_GW) == len(REFERENCE_TEXTS)
        assert stream.inside_HW.abs().max() > 1e-3
        assert stream.inside_HW.mean(dim=0).abs().max() < 1e-12


def test_only_rows_that_draw_are_disturbed(ground: Ground, batch: SuffixBatch) -> None:
    """A row without a draw keeps its states, a row with one does not, and the same draw does the same again."""
    once = ground.variation.disturb(batch, [3, None, 5], 1.0)
    assert torch.equal(once.hidden_RSD[1], batch.hidden_RSD[1])
    assert not torch.equal(once.hidden_RSD[0], batch.hidden_RSD[0])
    assert once.shift_RSI is not None
    assert not once.shift_RSI[0][1].any()
    again = ground.variation.disturb(batch, [3 + len(REFERENCE_TEXTS), None, 5], 1.0)
    assert torch.equal(once.hidden_RSD, again.hidden_RSD)


def test_a_disturbance_grows_with_its_size(ground: Ground, batch: SuffixBatch) -> None:
    """Twice the size moves every state twice as far."""
    moved = [
        ground.variation.disturb(batch, [1, 2, 3], size).hidden_RSD - batch.hidden_RSD for size in (1, 2)
    ]
    torch.testing.assert_close(2 * moved[0], moved[1])


def test_frozen_maps_see_no_shift(ground: Ground, batch: SuffixBatch) -> None:
    """What is added to a map's inputs changes what an edit makes of them, not what the base model does."""
    shifted = ground.variation.disturb(batch, [1, 2, 3], 1.0)
    shifted = SuffixBatch(
        ids_RS=batch.ids_RS,
        hidden_RSD=batch.hidden_RSD,
        mask_RT=batch.mask_RT,
        positions_RS=batch.positions_RS,
        cache=batch.cache,
        settled=batch.settled,
        shift_RSI=shifted.shift_RSI,
    )
    a = [torch.ones((3, 1, stream.ends_GW.shape[1]), dtype=torch.float64) for stream in ground.variation.maps]
    width = batch.hidden_RSD.shape[2]
    nothing = [torch.zeros((3, 1, width), dtype=torch.float64) for _ in a]
    something = [torch.ones((3, 1, width), dtype=torch.float64) for _ in a]
    assert torch.equal(ground.runner.run(shifted, a, nothing), ground.runner.run(batch, a, nothing))
    assert not torch.equal(ground.runner.run(shifted, a, something), ground.runner.run(batch, a, something))


def test_the_variation_is_the_models_alone(backbone: Backbone, ground: Ground) -> None:
    """Measured again, whatever was trained meanwhile, it is the same."""
    again = Variation(backbone, ground.capture)
    for old, new in zip(ground.variation.maps, again.maps, strict=True):
        assert torch.equal(old.inside_HW, new.inside_HW)
