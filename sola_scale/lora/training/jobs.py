"""What goes into the trainer and what comes out.

Shape legend: K keys (a prompt and its paraphrases), V views, D width.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sola_scale.lora.codec import Precision

Status = Literal["trained", "already-true", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One edit to be trained."""

    token: int
    """The caller's handle; comes back with the outcome."""
    prompt: str
    """What the model is asked."""
    target: str
    """What it shall answer."""
    paraphrases: tuple[str, ...] = ()
    """Other ways to ask the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFigures:
    """How a training went."""

    steps: int = 0
    """Optimizer steps."""
    loss: float = 0.0
    """Mean cross-entropy over the answer's tokens at the end, on the shortlist."""
    probability: float = 0.0
    """Least probability of an answer's token at acceptance: whole vocabulary, weights as stored."""
    precision: Precision | None = None
    """Number format of the payload."""
    size: int = 0
    """Bytes of the payload."""
    target_tokens: int = 0
    """Tokens of the answer, its end included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """What became of a job."""

    job: TrainingJob
    """The job."""
    status: Status
    """``trained``: ``payload`` holds; ``already-true``: the base model says so itself; ``failed``: see ``reason``."""
    reason: str | None = None
    """Why it failed."""
    payload: bytes | None = None
    """The weights as stored (``sola_scale.lora.codec``), accepted in this very form."""
    views_KVD: Tensor | None = None
    """Views of the prompt and then of each paraphrase, float32; None if the job never ran."""
    figures: TrainingFigures = TrainingFigures()
    """How it went."""
