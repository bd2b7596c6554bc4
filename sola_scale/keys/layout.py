"""A layout: which views a key is made of, and how many directions of each are kept."""

from dataclasses import dataclass

from sola_scale.backbone import View
from sola_scale.backbone.views import Pooling

_HEADS: tuple[tuple[int, Pooling, int], ...] = (
    (1, "mean", 128),
    (8, "mean", 64),
    (16, "mean", 64),
    (24, "mean", 64),
    (12, "last", 64),
    (20, "last", 64),
    (24, "last", 64),
)
"""Layer of the default model, pooling, floats: 512 floats, 1 KiB in float16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The views of a key."""

    retrieval: View
    """The early view that the index searches."""
    retrieval_dim: int = 256
    """Floats of the retrieval vector."""
    heads: tuple[tuple[View, int], ...]
    """The views of the verification vector, each with its floats."""

    @property
    def views(self) -> tuple[View, ...]:
        """Every view once, by layer."""
        return tuple(sorted({self.retrieval, *(view for view, _ in self.heads)}))


def default_layout(layers: int, before_layer: int | None = None) -> Layout:
    """The layout chosen on the 30-layer default model, whose first edited layer is 26, scaled to another depth.

    Args:
        layers: decoder layers of the model.
        before_layer: its first edited layer: no view lies above that layer's input.
    """
    last = min(before_layer, layers) if before_layer is not None else max(1, round(26 * layers / 30))

    def at(layer: int) -> int:
        return min(last, max(1, round(layer * last / 26)))

    heads: dict[View, int] = {}
    for layer, pooling, dim in _HEADS:
        view = View(at(layer), pooling)
        heads[view] = heads.get(view, 0) + dim
    return Layout(retrieval=View(at(1), "mean"), heads=tuple(heads.items()))
