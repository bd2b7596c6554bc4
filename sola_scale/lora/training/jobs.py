"""What goes into the trainer and what comes out.

Shape legend: K keys (a prompt and its paraphrases), V views, D width.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

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
    figures: dict[str, float | int | str] = field(default_factory=dict)
    """How it went, as far as it came: ``steps``; ``loss`` (mean cross-entropy per token, on the shortlist);
    ``probability`` (least one of a token of the answer: at acceptance over the whole vocabulary and with the weights as
    stored); ``precision``, ``size_class`` and ``bytes`` of the payload; ``target_tokens`` (the end included)."""
