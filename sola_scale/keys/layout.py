"""A layout: which views a key is made of, and how many directions of each are kept."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from sola_scale.backbone import View
from sola_scale.backbone.views import Pooling

Shared = Literal["question", "subject", "relation"]


class Part(NamedTuple):
    """One head of the verification vector."""

    view: View
    """What it reads."""
    dim: int
    """Floats it gives."""
    shared: Shared = "question"
    """What two texts must have in common for their difference to count as noise: a ``subject`` head is blind to what
    is asked, a ``relation`` head to whom it is asked of."""


_PARTS: tuple[tuple[int, Pooling, int, Shared], ...] = (
    (0, "frame", 96, "question"),
    (12, "last", 40, "question"),
    (20, "last", 48, "relation"),
    (24, "last", 64, "relation"),
    (24, "mean", 64, "relation"),
)
"""Layer of the default model, pooling, floats, what is shared: 312 floats; with 24 words 816 bytes in float16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The views of a key."""

    retrieval: View
    """The early view that the index searches."""
    retrieval_dim: int = 256
    """Floats of the retrieval vector."""
    heads: tuple[Part, ...]
    """The parts of the verification vector."""
    words: View | None = None
    """The view of the words, if they are compared as well."""

    @property
    def views(self) -> tuple[View, ...]:
        """Every view once, by layer."""
        words = {self.words} if self.words else set()
        return tuple(sorted({self.retrieval, *(part.view for part in self.heads), *words}))


def default_layout(layers: int, before_layer: int | None = None) -> Layout:
    """The layout chosen on the 30-layer default model, whose first edited layer is 26, scaled to another depth.

    Args:
        layers: decoder layers of the model.
        before_layer: its first edited layer: no view lies above that layer's input.
    """
    last = min(before_layer, layers) if before_layer is not None else max(1, round(26 * layers / 30))

    def at(layer: int) -> int:
        return min(last, max(1, round(layer * last / 26))) if layer else 0

    heads = tuple(Part(View(at(layer), pooling), dim, shared) for layer, pooling, dim, shared in _PARTS)
    return Layout(retrieval=View(at(1), "mean"), heads=heads, words=View(0, "words"))
