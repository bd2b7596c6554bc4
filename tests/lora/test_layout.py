"""Adapter layouts: their shapes come from the model, and nothing impossible is accepted."""

import pytest

from sola_scale.errors import TrainingError
from sola_scale.lora.layout import AdapterLayout, ModuleShape
from tests.tiny import CONFIGS, tiny_backbone


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_defaults_exist_for_every_family(family: str) -> None:
    """Every family has size classes, each larger than the one before, that survive JSON."""
    layouts = AdapterLayout.default(tiny_backbone(family))
    assert [AdapterLayout.from_json(layout.to_json()) for layout in layouts] == list(layouts)
    assert [layout.size for layout in layouts] == sorted({layout.size for layout in layouts})


def test_transposed_maps_are_described_the_right_way_round() -> None:
    """GPT-2 stores its weights transposed; the layout names inputs and outputs all the same."""
    backbone = tiny_backbone("gpt2")
    layout = AdapterLayout.of(backbone, ["transformer.h.3.mlp.c_proj"])
    assert (layout.modules[0].d_in, layout.modules[0].d_out) == (128, 64)


@pytest.mark.parametrize("path", ["model.layers.9.mlp.down_proj", "model.layers.1.mlp.nothing", "lm_head"])
def test_unknown_maps_are_named(path: str) -> None:
    """A path that leads to no linear map of a layer is refused, with the path in the text."""
    with pytest.raises(TrainingError, match=path.replace(".", r"\.")):
        AdapterLayout.of(tiny_backbone(), [path])


def test_maps_are_ordered_by_layer() -> None:
    """However they are given, maps come lowest layer first."""
    backbone = tiny_backbone()
    paths = [backbone.architecture.module_path(layer) for layer in (3, 1)]
    assert AdapterLayout.of(backbone, paths).paths == tuple(reversed(paths))


@pytest.mark.parametrize("rank", [0, 256])
def test_impossible_ranks_are_refused(rank: int) -> None:
    """A rank that no payload can state is refused."""
    with pytest.raises(TrainingError):
        AdapterLayout(modules=(ModuleShape(path="x", d_in=1, d_out=1),), rank=rank)


@pytest.mark.parametrize(
    "data", [{}, {"rank": 1}, {"rank": "x", "modules": []}, {"rank": 1, "modules": [{}]}]
)
def test_malformed_json_is_refused(data: dict) -> None:
    """A layout in a store's configuration that lacks a field is an error of ours, not a KeyError."""
    with pytest.raises(TrainingError):
        AdapterLayout.from_json(data)
