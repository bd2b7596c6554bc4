"""The default calibration: shipped for the default model, fitted on the spot for any other."""

from collections.abc import Callable
from importlib import resources

from sola_scale.backbone import Backbone, fingerprint
from sola_scale.keys.calibration import Calibration
from sola_scale.keys.fitting import fit_calibration
from sola_scale.keys.layout import default_layout
from sola_scale.keys.pairs import Pairs, default_pairs

MAX_PAIRS = 2000
"""Questions fitted on for another model: about 8,000 prompts, minutes on a CPU."""
FALSE_FIRE = 0.05
"""Near misses of the shipped questions that may fire: they are worded as closely as can be, ask for what is most easily taken for
another, and are judged by what has never met their relation. Of the near misses in public sets fewer fire: see docs/routing.md."""
BLOCK = 12
"""Consecutive pairs taken together."""
_FILE = "smollm2.safetensors"


def default_calibration(
    backbone: Backbone,
    *,
    before_layer: int | None = None,
    max_pairs: int = MAX_PAIRS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Return the shipped calibration if it was made for this model, else fit one from the shipped pairs.

    Args:
        backbone: the base model.
        before_layer: the first edited layer; no view lies above its input. Default: 26 of 30, in proportion.
        max_pairs: how many of the shipped questions to fit on, if it comes to that.
        seed: of the fit.
        progress: told how many prompts are done, of how many.
    """
    shipped = shipped_calibration(backbone)
    if shipped is not None and (before_layer is None or shipped.last_layer <= before_layer):
        return shipped
    pairs = default_pairs()
    chosen = _part(pairs, max_pairs)
    layout = default_layout(len(backbone.architecture.layers), before_layer)
    return fit_calibration(
        backbone,
        chosen,
        false_fire=FALSE_FIRE,
        layout=layout,
        seed=seed,
        note=f"fitted from {len(chosen)} of the shipped questions",
        progress=progress,
    )


def _part(pairs: list[Pairs], most: int) -> list[Pairs]:
    """An even part of the pairs, in blocks: neighbours in the file are what must be told apart."""
    stride = max(1, -(-len(pairs) // most))
    return [pair for place, pair in enumerate(pairs) if place // BLOCK % stride == 0]


def shipped_calibration(backbone: Backbone) -> Calibration | None:
    """The calibration in the package if it was made for these very weights, else None."""
    file = resources.files("sola_scale.keys") / "data" / _FILE
    if not file.is_file():
        return None
    shipped = Calibration.from_bytes(file.read_bytes())
    return shipped if shipped.model == fingerprint(backbone)["model"] else None
