"""The edits of one size class in flight: whoever is finished or hopeless leaves, and the next one takes its place."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch

from sola_scale.backbone.head import Head
from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.suffix import SuffixBatch
from sola_scale.errors import TrainingError
from sola_scale.lora.codec import Precision, encode
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training.acceptance import Acceptance, Verdict
from sola_scale.lora.training.batch import Batch
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.ground import Ground
from sola_scale.lora.training.jobs import TrainingOutcome
from sola_scale.lora.training.noise import GateNoise
from sola_scale.lora.training.preparation import Preparation, TokenizedJob
from sola_scale.lora.training.slots import Slots
from sola_scale.lora.training.starts import Starts
from sola_scale.lora.training.trainee import Trainee

_STORED: tuple[Precision, ...] = ("int3", "int4", "int8", "fp16")


@dataclass(slots=True, eq=False)
class _Flight:
    """An edit and its slot."""

    trainee: Trainee
    slot: int
    loss: float = float("inf")
    probabilities: dict[int, float] = field(default_factory=dict)

    @property
    def probability(self) -> float:
        """Least probability of a label, in each example as it was when last run; 0 until all have had their turn."""
        seen = len(self.probabilities) == len(self.trainee.examples)
        return min(self.probabilities.values()) if seen else 0.0


class Lane:
    """Trains the edits of one layout."""

    def __init__(
        self, backbone: Backbone, layout: AdapterLayout, index: int, config: TrainingConfig, ground: Ground
    ) -> None:
        self._index, self._config, self._head, self._ground = index, config, Head(backbone), ground
        self._preparation = Preparation(backbone, ground.capture, config)
        self._noise = GateNoise(backbone, layout, config.gate_noise)
        self._acceptance = Acceptance(ground.runner, self._head)
        self._slots = Slots(backbone, layout, config, Starts(layout, config, ground))
        self._flights: list[_Flight] = []
        self._ready: deque[Trainee] = deque()
        self._batch: Batch | None = None
        self.pending: deque[TokenizedJob] = deque()

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self._flights or self._ready or self.pending)

    @property
    def backlog(self) -> int:
        """Jobs that are not in flight yet."""
        return len(self._ready) + len(self.pending)

    def advance(self) -> Iterator[TrainingOutcome]:
        """Fill the batch, take one step, and yield whatever came to an end."""
        yield from self._fill()
        if not self._flights:
            return
        loss = self._forward()
        yield from self._land()
        if self._flights:
            torch.autograd.backward(loss)
            self._slots.step()
            for flight in self._flights:
                flight.trainee.steps += 1
        else:
            self._slots.forget()

    def _fill(self) -> Iterator[TrainingOutcome]:
        while self._slots.free and (self._ready or self.pending):
            if not self._ready:
                yield from self._prepare()
                continue
            if not self._fits(self._ready[0]):
                return
            trainee = self._ready.popleft()
            self._flights.append(_Flight(trainee, self._slots.enter(trainee)))
            self._batch = None

    def _prepare(self) -> Iterator[TrainingOutcome]:
        taken = self._preparation.chunk(self.pending)
        for result in self._preparation.run(list(islice(self.pending, taken))):
            if isinstance(result, Trainee):
                self._ready.append(result)
            else:
                yield result
        for _ in range(taken):
            self.pending.popleft()

    def _fits(self, trainee: Trainee) -> bool:
        """Bound a step's memory: rows times the longest answer."""
        aboard = [flight.trainee for flight in self._flights]
        rows = sum(len(one.turn()) for one in (*aboard, trainee))
        longest = max(one.positions for one in (*aboard, trainee))
        return not aboard or rows * longest <= self._config.batch_positions

    def _forward(self) -> torch.Tensor:
        """Run the edited layers and note where every edit stands; return the sum of the losses."""
        if self._batch is None:
            trainees = [flight.trainee for flight in self._flights]
            slots = [flight.slot for flight in self._flights]
            self._batch = Batch.stack(trainees, slots, self._ground.runner, self._head)
        turns = [flight.trainee.turn() for flight in self._flights]
        turn = self._batch.turn(turns)
        inputs = self._disturb(turn.inputs, turns)
        output_RSD = self._ground.runner.run(inputs, *self._slots.rows(turn.slots_R))
        loss_M, least_ME = self._batch.measure(turn, output_RSD, self._head)
        # The one time that a step waits for the device.
        stands = torch.cat([loss_M.detach().unsqueeze(1), least_ME], dim=1).tolist()
        for flight, examples, (loss, *least_E) in zip(self._flights, turns, stands, strict=True):
            flight.loss = loss
            flight.probabilities |= dict(zip(examples, least_E, strict=False))
        # A loss that is not finite is that edit's own affair: it must not reach the sum.
        return torch.where(loss_M.isfinite(), loss_M, 0.0).sum()

    def _disturb(self, inputs: SuffixBatch, turns: Sequence[Sequence[int]]) -> SuffixBatch:
        """Move the rows of those edits that are to hold whatever the wording, each kind of edit in its own way."""
        drawn = [
            (flight.trainee, flight.trainee.draw(example))
            for flight, examples in zip(self._flights, turns, strict=True)
            for example in examples
        ]
        moved = [draw if trainee.disturbed else None for trainee, draw in drawn]
        if any(draw is not None for draw in moved):
            inputs = self._ground.variation.disturb(inputs, moved, self._config.disturbance)
        noisy = [draw if trainee.noisy else None for trainee, draw in drawn]
        return self._noise.add(inputs, noisy) if any(draw is not None for draw in noisy) else inputs

    def _land(self) -> Iterator[TrainingOutcome]:
        for flight in [one for one in self._flights if one.loss != one.loss or one.loss == float("inf")]:
            self._leave(flight)
            yield self._failed(flight, "the loss is not finite")
        due = [flight for flight in self._flights if self._is_due(flight)]
        for precision in _STORED:
            trying = [flight for flight in due if self._may_try(flight, precision)]
            for flight, payload, verdict in self._check(trying, precision):
                if verdict.holds:
                    due.remove(flight)
                    self._leave(flight)
                    yield self._trained(flight, payload, precision, verdict)
                else:
                    self._refuse(flight, verdict)
        for flight in [one for one in due if one.trainee.steps >= self._config.max_steps]:
            self._leave(flight)
            yield self._failed(flight, f"it did not hold within {self._config.max_steps} steps")

    def _is_due(self, flight: _Flight) -> bool:
        trainee = flight.trainee
        wanted = trainee.probability
        reached = wanted is not None and flight.probability >= self._config.eased(wanted, trainee.steps)
        return reached or trainee.steps >= self._config.max_steps

    def _may_try(self, flight: _Flight, precision: Precision) -> bool:
        """More training is cheaper than more bytes: wider formats wait until the narrow one has failed often enough."""
        last = flight.trainee.steps >= self._config.max_steps
        return precision == _STORED[0] or last or flight.trainee.attempts > self._config.patience

    def _check(
        self, flights: Sequence[_Flight], precision: Precision
    ) -> Iterator[tuple[_Flight, bytes, Verdict]]:
        ready = [(flight, self._encode(flight, precision)) for flight in flights]
        sound = [(flight, payload) for flight, payload in ready if payload is not None]
        if not sound:
            return
        verdicts = self._acceptance.check(
            [flight.trainee for flight, _ in sound], [payload for _, payload in sound]
        )
        for (flight, payload), verdict in zip(sound, verdicts, strict=True):
            yield flight, payload, verdict

    def _encode(self, flight: _Flight, precision: Precision) -> bytes | None:
        try:
            return encode(self._slots.adapter(flight.slot, self._index), precision)
        except TrainingError:
            return None

    def _refuse(self, flight: _Flight, verdict: Verdict) -> None:
        flight.trainee.attempts += 1
        before = len(flight.trainee.shortlist)
        flight.trainee.widen(verdict.rivals)
        if len(flight.trainee.shortlist) != before:
            self._batch = None

    def _leave(self, flight: _Flight) -> None:
        self._flights.remove(flight)
        self._slots.leave(flight.slot)
        self._batch = None

    def _trained(
        self, flight: _Flight, payload: bytes, precision: Precision, verdict: Verdict
    ) -> TrainingOutcome:
        figures = self._figures(flight) | {
            "probability": verdict.probability,
            "precision": precision,
            "size_class": self._index,
            "bytes": len(payload),
        }
        trainee = flight.trainee
        return TrainingOutcome(
            job=trainee.job, status="trained", payload=payload, views_KVD=trainee.views_KVD, figures=figures
        )

    def _failed(self, flight: _Flight, reason: str) -> TrainingOutcome:
        trainee, figures = flight.trainee, self._figures(flight)
        return TrainingOutcome(
            job=trainee.job, status="failed", reason=reason, views_KVD=trainee.views_KVD, figures=figures
        )

    @staticmethod
    def _figures(flight: _Flight) -> dict[str, float | int | str]:
        return {
            "steps": flight.trainee.steps,
            "loss": flight.loss,
            "probability": flight.probability,
            "target_tokens": len(flight.trainee.examples[0].labels),
        }
