"""A layout: which views a key is made of."""

from dataclasses import dataclass

from sola_scale.backbone import View
from sola_scale.backbone.views import Pooling

_ENCODED: tuple[tuple[int, Pooling], ...] = (
    (0, "frame"),
    (8, "frame"),
    (16, "frame"),
    (24, "frame"),
    (12, "last"),
    (20, "last"),
    (24, "last"),
    (24, "mean"),
)
"""Layer of the default model and pooling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The views of a key."""

    retrieval: View
    """The early view that the index searches."""
    retrieval_dim: int = 256
    """Floats of the retrieval vector."""
    encoded: tuple[View, ...]
    """What the encoders read."""
    words: View
    """The view of the words."""
    tokens: View
    """The view of the tokens."""

    @property
    def views(self) -> tuple[View, ...]:
        """Every view once, by layer."""
        return tuple(sorted({self.retrieval, *self.encoded, self.words, self.tokens}))


def default_layout(layers: int, before_layer: int | None = None) -> Layout:
    """The layout chosen on the 30-layer default model, whose first edited layer is 26, scaled to another depth.

    Args:
        layers: decoder layers of the model.
        before_layer: its first edited layer: no view lies above that layer's input.
    """
    last = min(before_layer, layers) if before_layer is not None else max(1, round(26 * layers / 30))

    def at(layer: int) -> int:
        return min(last, max(1, round(layer * last / 26))) if layer else 0

    encoded = dict.fromkeys(View(at(layer), pooling) for layer, pooling in _ENCODED)
    return Layout(
        retrieval=View(at(1), "mean"),
        encoded=tuple(encoded),
        words=View(0, "words"),
        tokens=View(0, "tokens"),
    )
