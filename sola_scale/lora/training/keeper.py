"""One trainer kept from job to job: its reference passes through the model take seconds, and are the same each time."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.views import View
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.trainer import Trainer


class TrainerKeeper:
    """Lends the trainer of a store to one job at a time."""

    def __init__(self, backbone: Backbone, layouts: Sequence[AdapterLayout], config: TrainingConfig) -> None:
        self._backbone = backbone
        self._layouts = layouts
        self._config = config
        self._lock = threading.RLock()
        self._trainer: Trainer | None = None
        self._views: tuple[View, ...] = ()

    @contextlib.contextmanager
    def lend(self, views: Sequence[View]) -> Iterator[Trainer]:
        """Lend a trainer whose outcomes carry ``views``; others wait meanwhile."""
        with self._lock:
            trainer, kept = self._trainer, self._views
            # Only a job that came to its end gives the trainer back: another leaves half-trained edits in its lanes.
            self._trainer = None
            if trainer is None or kept != tuple(views):
                trainer = Trainer(self._backbone, self._layouts, self._config, views)
            yield trainer
            self._trainer, self._views = trainer, tuple(views)

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """Within this block no job runs."""
        with self._lock:
            yield
