"""The trainer: jobs in, outcomes out, a full batch of independent edits in flight all the while."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.views import View
from sola_scale.errors import TrainingError
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.jobs import TrainingJob, TrainingOutcome
from sola_scale.lora.training.lane import Lane
from sola_scale.lora.training.preparation import TokenizedJob, tokenize_job


class Trainer:
    """Trains edits, many at once, each as if it were alone."""

    def __init__(
        self,
        backbone: Backbone,
        layouts: Sequence[AdapterLayout],
        config: TrainingConfig | None = None,
        views: Sequence[View] = (),
    ) -> None:
        """Prepare.

        Args:
            backbone: the base model; nothing in it is changed.
            layouts: a store's size classes, smallest first; ``config.class_limits`` says who starts where.
            config: the recipe.
            views: pooled states of every prompt that outcomes shall carry.

        Raises:
            TrainingError: there is no layout, or one names what the model does not have.
        """
        if not layouts:
            raise TrainingError("training needs at least one adapter layout")
        for layout in layouts:
            if AdapterLayout.of(backbone, layout.paths, rank=layout.rank) != layout:
                raise TrainingError("an adapter layout does not fit the model")
        self._backbone = backbone
        self._config = config or TrainingConfig()
        self._lanes = [
            Lane(backbone, layout, index, self._config, views) for index, layout in enumerate(layouts)
        ]

    def train(self, jobs: Iterable[TrainingJob]) -> Iterator[TrainingOutcome]:
        """Train a stream of jobs; every job yields one outcome, in the order in which they come to an end.

        Jobs are read ahead by ``config.lookahead`` and no further. A job that is malformed, does not converge or goes
        wrong numerically becomes an outcome like any other and does not touch its batch mates.
        """
        stream = iter(jobs)
        backwards = False
        while window := list(islice(stream, self._config.lookahead)):
            yield from self._enlist(window, backwards=backwards)
            # Windows are sorted up and down by turns: the last of one and the first of the next are of like length.
            backwards = not backwards
            for lane in self._lanes:
                while lane.backlog >= self._config.batch_size:
                    yield from self._advance(lane)
        while any(lane.busy for lane in self._lanes):
            for lane in self._lanes:
                if lane.busy:
                    yield from self._advance(lane)

    def _enlist(self, window: Sequence[TrainingJob], *, backwards: bool) -> Iterator[TrainingOutcome]:
        tokenized: list[TokenizedJob] = []
        for job in window:
            result = tokenize_job(self._backbone, job)
            if isinstance(result, TrainingOutcome):
                yield result
            else:
                tokenized.append(result)
        for one in sorted(tokenized, key=lambda one: one.length, reverse=backwards):
            self._lanes[min(one.size_class(self._config), len(self._lanes) - 1)].pending.append(one)

    def _advance(self, lane: Lane) -> Iterator[TrainingOutcome]:
        """Move a lane one step on; what its class is too small for tries the next larger one."""
        for outcome in lane.advance():
            larger = self._lanes.index(lane) + 1
            if outcome.status != "failed" or outcome.views_KVD is None or larger == len(self._lanes):
                yield outcome
                continue
            again = tokenize_job(self._backbone, outcome.job)
            assert isinstance(again, TokenizedJob), "a job that was tokenized once can be tokenized again"
            self._lanes[larger].pending.append(again)
