"""An edit on its way: its job, its frozen prefixes, the tokens it competes with, and how far it has come."""

import zlib
from dataclasses import dataclass

from torch import Tensor

from sola_scale.backbone.prefix import Prefix
from sola_scale.lora.training.jobs import TrainingJob


@dataclass(slots=True, kw_only=True)
class Example:
    """One context in which the answer is to be said."""

    prefix: Prefix
    """The context and the answer, run through the frozen layers."""
    labels: tuple[int, ...]
    """What is to be said at each position."""


@dataclass(slots=True, kw_only=True, eq=False)
class Trainee:
    """One edit being trained."""

    job: TrainingJob
    """The caller's request."""
    examples: list[Example]
    """The prompt's own context first, then its paraphrases and the stock contexts."""
    shortlist: list[int]
    """Token ids that the loss is computed over: labels first, then rivals."""
    views_KVD: Tensor
    """Views of the prompt and of each paraphrase."""
    constant: int
    """How many of the examples, from the first on, every step runs; the others take turns."""
    probability: float | None
    """What every token of the answer must reach before the edit may leave; None: it stays for all its steps."""
    disturbed: bool
    """Whether every step moves its examples as if they were worded otherwise (``variation.py``)."""
    noisy: bool
    """Whether every step adds noise to what its gates answer (``noise.py``)."""
    rate: float
    """Step size of ``B`` as a share of ``TrainingConfig.learning_rate``."""
    gate_rate: float
    """Step size of ``A`` as a share of that of ``B``."""
    hardest: tuple[int, ...] = (0,)
    """The answer's positions as gates should serve them: the first, then the others by the base model's surprise."""
    steps: int = 0
    """Optimizer steps so far."""
    attempts: int = 0
    """Times that its weights, as stored, did not hold."""

    @property
    def positions(self) -> int:
        """Positions of its longest example."""
        return max(len(example.labels) for example in self.examples)

    def turn(self) -> list[int]:
        """Return the examples that the next step runs: the constant ones, and another of the others each time."""
        others = len(self.examples) - self.constant
        return [*range(self.constant), *([self.constant + self.steps % others] if others else [])]

    def draw(self, example: int) -> int:
        """Return the number that picks what disturbs one of its examples in the next step.

        It depends on nothing but the edit and its steps, so that batch mates make no difference.
        """
        return zlib.crc32(self.job.prompt.encode()) + 7 * self.steps + 13 * example

    def widen(self, rivals: list[int]) -> None:
        """Add tokens to the shortlist that were seen to win where they should not."""
        known = set(self.shortlist)
        self.shortlist += [rival for rival in dict.fromkeys(rivals) if rival not in known]
