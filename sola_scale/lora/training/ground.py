"""What the size classes that change the same maps share: the frozen layers below, the edited ones, and their variation."""

from collections.abc import Sequence
from functools import cached_property

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.prefix import PrefixCapture
from sola_scale.backbone.suffix import SuffixRunner
from sola_scale.backbone.views import View
from sola_scale.lora.layout import layer_of
from sola_scale.lora.training.variation import Variation


class Ground:
    """The model as the edits of some maps see it."""

    def __init__(self, backbone: Backbone, paths: Sequence[str], views: Sequence[View]) -> None:
        first = min(layer_of(backbone, path) for path in paths)
        self._backbone = backbone
        self.capture = PrefixCapture(backbone, paths, first, views)
        """Runs prompts and answers once."""
        self.runner = SuffixRunner(backbone, paths, first)
        """Runs the edited layers, step by step."""

    @cached_property
    def variation(self) -> Variation:
        """How other wordings vary what enters the edited layers; measured when first asked for."""
        return Variation(self._backbone, self.capture)
