"""From jobs to trainees: tokenize, run the frozen prefix once, find the rivals, sort out what needs no training.

Shape legend: S positions, W vocabulary, K keys (a prompt and its paraphrases), V views, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sola_scale.backbone.head import Head
from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.prefix import Prefix, PrefixCapture
from sola_scale.errors import RequestError
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.jobs import TrainingJob, TrainingOutcome
from sola_scale.lora.training.tokens import Tokenized, tokenize
from sola_scale.lora.training.trainee import Example, Trainee

_LOGIT_POSITIONS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedJob:
    """A job in tokens."""

    job: TrainingJob
    """The caller's request."""
    contexts: tuple[Tokenized, ...]
    """The prompt and then its paraphrases, each with the answer."""

    @property
    def length(self) -> tuple[int, int]:
        """Sort key that keeps padding small: answer first, since every step pays for it, then prompt."""
        return len(self.contexts[0].target), len(self.contexts[0].prompt)

    @property
    def tokens(self) -> int:
        """Longest context, in tokens."""
        return max(len(context.prompt) + len(context.target) for context in self.contexts)


def tokenize_job(backbone: Backbone, job: TrainingJob) -> TokenizedJob | TrainingOutcome:
    """Tokenize a job, or say why that cannot be."""
    try:
        contexts = tuple(tokenize(backbone, text, job.target) for text in (job.prompt, *job.paraphrases))
    except RequestError as error:
        return TrainingOutcome(job=job, status="failed", reason=str(error))
    return TokenizedJob(job=job, contexts=contexts)


class Preparation:
    """Makes trainees of tokenized jobs, many in one forward pass."""

    def __init__(self, backbone: Backbone, capture: PrefixCapture, config: TrainingConfig) -> None:
        self._backbone = backbone
        self._capture = capture
        self._head = Head(backbone)
        self._config = config

    def chunk(self, jobs: Sequence[TokenizedJob]) -> int:
        """Return how many of the first jobs fit into one forward pass."""
        rows = longest = taken = 0
        for job in jobs:
            rows, longest = rows + len(job.contexts), max(longest, job.tokens)
            if taken and rows * longest > self._config.capture_tokens:
                break
            taken += 1
        return taken

    def run(self, jobs: Sequence[TokenizedJob]) -> list[Trainee | TrainingOutcome]:
        """Run one batch through the frozen model."""
        contexts = [context for job in jobs for context in job.contexts]
        prefixes = iter(self._capture.run([(context.prompt, context.target) for context in contexts]))
        return [self._judge(job, [next(prefixes) for _ in job.contexts]) for job in jobs]

    def _judge(self, job: TokenizedJob, prefixes: list[Prefix]) -> Trainee | TrainingOutcome:
        views_KVD = torch.stack([prefix.views_VD for prefix in prefixes])
        kept = prefixes[: 1 + self._config.paraphrases]
        examples = [
            Example(prefix=prefix, labels=context.labels)
            for prefix, context in zip(kept, job.contexts, strict=False)
        ]
        logits = [self._base_logits(example.prefix.output_SD) for example in examples]
        if not all(bool(best.isfinite().all()) for _, best in logits):
            return TrainingOutcome(
                job=job.job, status="failed", reason="the base model's logits are not finite"
            )
        if self._says(job.contexts[0], logits[0][0][:, 0].tolist()):
            figures: dict[str, float | int | str] = {"target_tokens": len(job.contexts[0].labels)}
            return TrainingOutcome(job=job.job, status="already-true", views_KVD=views_KVD, figures=figures)
        rivals = [rival for ids, _ in logits for rival in ids.flatten().tolist()]
        labels = [label for example in examples for label in example.labels]
        return Trainee(
            job=job.job,
            examples=examples,
            shortlist=list(dict.fromkeys([*labels, *rivals])),
            views_KVD=views_KVD,
        )

    @torch.no_grad()
    def _base_logits(self, output_SD: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids and logits of the strongest tokens at every position, ``[S, candidates]``."""
        # Long answers bring many rivals anyway: a smaller share for each keeps the shortlist short.
        count = max(8, min(self._config.candidates, 16 * self._config.candidates // output_SD.shape[0]))
        tops = [
            self._head.full(part).topk(min(count, self._head.vocabulary), dim=-1)
            for part in torch.split(output_SD, _LOGIT_POSITIONS)
        ]
        return torch.cat([top.indices for top in tops]), torch.cat([top.values for top in tops])

    def _says(self, context: Tokenized, greedy: list[int]) -> bool:
        """Tell whether the base model's own free generation begins with the answer and ends a word there."""
        if tuple(greedy[:-1]) != context.target:
            return False
        after = self._backbone.tokenizer.decode([greedy[-1]])
        return greedy[-1] == context.end or not after[:1].isalnum()
