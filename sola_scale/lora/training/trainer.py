"""The trainer: jobs in, outcomes out, a full batch of independent edits in flight all the while."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.views import View
from sola_scale.errors import TrainingError
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.ground import Ground
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
        self._layouts = tuple(layouts)
        self._views = tuple(views)
        self._lanes: dict[int, Lane] = {}
        self._grounds: dict[tuple[str, ...], Ground] = {}

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
            for index in sorted(self._lanes):
                while self._lanes[index].backlog >= self._config.batch_size:
                    yield from self._advance(index)
        while busy := [index for index in sorted(self._lanes) if self._lanes[index].busy]:
            yield from self._advance(busy[0])

    def _enlist(self, window: Sequence[TrainingJob], *, backwards: bool) -> Iterator[TrainingOutcome]:
        tokenized: list[TokenizedJob] = []
        for job in window:
            result = tokenize_job(self._backbone, job)
            if isinstance(result, TrainingOutcome):
                yield result
            else:
                tokenized.append(result)
        for one in sorted(tokenized, key=lambda one: one.length, reverse=backwards):
            self._lane(min(one.size_class(self._config), len(self._layouts) - 1)).pending.append(one)

    def _lane(self, index: int) -> Lane:
        """Return the lane of a size class; one that nobody needs is never prepared."""
        if index not in self._lanes:
            layout = self._layouts[index]
            if layout.paths not in self._grounds:
                self._grounds[layout.paths] = Ground(self._backbone, layout.paths, self._views)
            ground = self._grounds[layout.paths]
            self._lanes[index] = Lane(self._backbone, layout, index, self._config, ground)
        return self._lanes[index]

    def _advance(self, index: int) -> Iterator[TrainingOutcome]:
        """Move a lane one step on; what its class is too small for tries the next larger one."""
        for outcome in self._lanes[index].advance():
            if outcome.status != "failed" or outcome.views_KVD is None or index + 1 == len(self._layouts):
                yield outcome
                continue
            again = tokenize_job(self._backbone, outcome.job)
            assert isinstance(again, TokenizedJob), "a job that was tokenized once can be tokenized again"
            self._lane(index + 1).pending.append(again)
