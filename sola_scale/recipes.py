"""Recipes: functions that return how a store's edits are made and routed, from layers to calibration."""

from collections.abc import Callable
from dataclasses import dataclass

from sola_scale.backbone import Backbone
from sola_scale.errors import StoreError
from sola_scale.keys import Calibration, default_calibration, sola_paper_calibration
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the edits of a store are made and routed; fixed when the store is created."""

    name: str
    """What the store remembers it by."""
    layouts: Callable[[Backbone], tuple[AdapterLayout, ...]]
    """The size classes of adapters for a model, the smallest first."""
    training: TrainingConfig
    """How an adapter is trained."""
    calibration: Callable[[Backbone, int], Calibration]
    """The map from views to keys, and the threshold, for a model and its first edited layer."""


def default() -> Recipe:
    """Rank-1 adapters on the last layers, calibrated keys, verified routes (``docs/design/``)."""
    return Recipe(
        name="default",
        layouts=AdapterLayout.default,
        training=TrainingConfig(),
        calibration=lambda backbone, layer: default_calibration(backbone, before_layer=layer),
    )


def sola_paper() -> Recipe:
    """SoLA as published (arXiv 2603.11239): one rank-4 LoRA trained by SGD, raw last-token key, fixed radius 0.01."""
    return Recipe(
        name="sola-paper",
        layouts=AdapterLayout.sola_paper,
        training=TrainingConfig.sola_paper(),
        calibration=lambda backbone, layer: sola_paper_calibration(backbone, layer=layer),
    )


_RECIPES: dict[str, Callable[[], Recipe]] = {"default": default, "sola-paper": sola_paper}


def by_name(name: str) -> Recipe:
    """Return the recipe that a store names.

    Raises:
        StoreError: this version knows no such recipe.
    """
    if name not in _RECIPES:
        raise StoreError(
            f"the store was made by the recipe {name!r}; this version knows {', '.join(_RECIPES)}"
        )
    return _RECIPES[name]()
