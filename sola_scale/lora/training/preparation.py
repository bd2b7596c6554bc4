"""From jobs to trainees: tokenize, run the frozen prefix once, find the rivals, sort out what needs no training.

Shape legend: S positions, W vocabulary, K keys (a prompt and its paraphrases), V views, D width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sola_scale.backbone.head import Head
from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.prefix import Prefix, PrefixCapture
from sola_scale.errors import RequestError
from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.jobs import TrainingJob, TrainingOutcome
from sola_scale.lora.training.reference import STOCK_TEXTS
from sola_scale.lora.training.tokens import Tokenized, tokenize
from sola_scale.lora.training.trainee import Example, Trainee

_STOCK_RIVALS = 16


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

    def size_class(self, config: TrainingConfig) -> int:
        """Return the size class that the answer's length asks for."""
        return sum(len(self.contexts[0].target) > limit for limit in config.class_limits)

    def is_long(self, config: TrainingConfig) -> bool:
        """Whether the answer is a sentence rather than a name."""
        return self.size_class(config) == len(config.class_limits)

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


@dataclass(frozen=True, slots=True)
class _BaseAnswer:
    """What the base model says where the answer is to be said."""

    rivals: list[int]
    """Strongest tokens of all positions."""
    greedy: list[int]
    """The strongest token of each position."""
    surprise: list[float]
    """Cross-entropy of each label."""


class Preparation:
    """Makes trainees of tokenized jobs, many in one forward pass."""

    def __init__(self, backbone: Backbone, capture: PrefixCapture, config: TrainingConfig) -> None:
        self._backbone = backbone
        self._capture = capture
        self._head = Head(backbone)
        self._config = config
        encoded = [backbone.tokenizer(text)["input_ids"] for text in STOCK_TEXTS[: config.contexts]]
        self._stock = [capture.open(ids) for ids in encoded]
        self._stock_rivals = [rival for stock in self._stock for rival in self._rivals(stock.prefix)]

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
        own = [[next(prefixes) for _ in job.contexts] for job in jobs]
        stock = self._stock_prefixes(jobs)
        answers = self._base_answers(jobs, [mine[0] for mine in own])
        return [self._judge(*one) for one in zip(jobs, own, stock, answers, strict=True)]

    def _stock_prefixes(self, jobs: Sequence[TokenizedJob]) -> list[list[Prefix]]:
        """Return, by job, its answer after each stock context; long answers go without, like ones share theirs."""
        targets = [() if job.is_long(self._config) else job.contexts[0].target for job in jobs]
        distinct = [target for target in dict.fromkeys(targets) if target]
        if not distinct:
            return [[] for _ in jobs]
        followed = [
            dict(zip(distinct, self._capture.follow(stock, distinct), strict=True)) for stock in self._stock
        ]
        return [[one[target] for one in followed] if target else [] for target in targets]

    def _judge(
        self, job: TokenizedJob, prefixes: list[Prefix], stock: list[Prefix], answer: _BaseAnswer
    ) -> Trainee | TrainingOutcome:
        context = job.contexts[0]
        views_KVD = torch.stack([prefix.views_VD for prefix in prefixes]).float().cpu()
        if not all(math.isfinite(one) for one in answer.surprise):
            return TrainingOutcome(
                job=job.job, status="failed", reason="the base model's logits are not finite"
            )
        if self._says(context, answer.greedy):
            figures: dict[str, float | int | str] = {"target_tokens": len(context.labels)}
            return TrainingOutcome(job=job.job, status="already-true", views_KVD=views_KVD, figures=figures)
        kept = list(zip(prefixes, job.contexts, strict=True))[: 1 + self._config.paraphrases]
        examples = [Example(prefix=prefix, labels=one.labels) for prefix, one in kept]
        examples += [Example(prefix=prefix, labels=context.labels) for prefix in stock]
        labels = [label for example in examples for label in example.labels]
        config, several = self._config, 0 < job.size_class(self._config) < len(self._config.class_limits)
        later = sorted(range(1, len(context.labels)), key=lambda position: -answer.surprise[position])
        return Trainee(
            job=job.job,
            examples=examples,
            shortlist=list(dict.fromkeys([*labels, *answer.rivals, *self._stock_rivals])),
            views_KVD=views_KVD,
            constant=len(examples) if job.size_class(self._config) else len(kept),
            probability=self._wanted(job),
            disturbed=self._is_disturbed(job),
            noisy=several and not self._is_disturbed(job) and config.gate_noise > 0,
            rate=config.several_learning_rate / config.learning_rate if several else 1.0,
            gate_rate=config.several_gate_rate if several else config.gate_rate,
            hardest=(0, *later),
        )

    def _base_answers(self, jobs: Sequence[TokenizedJob], prefixes: Sequence[Prefix]) -> list[_BaseAnswer]:
        labels = [job.contexts[0].labels for job in jobs]
        lengths = [len(one) for one in labels]
        labels_N = torch.tensor([label for one in labels for label in one], device=self._backbone.device)
        output_ND = torch.cat([prefix.output_SD for prefix in prefixes])
        best_NC, loss_N = self._head.survey(output_ND, labels_N, self._config.candidates)
        answers = []
        parts = [torch.split(one.cpu(), lengths) for one in (best_NC, loss_N)]
        for best_SC, loss_S in zip(*parts, strict=True):
            # Long answers bring many rivals anyway: a smaller share for each keeps the shortlist short.
            share = max(8, min(self._config.candidates, 16 * self._config.candidates // len(best_SC)))
            answers.append(
                _BaseAnswer(best_SC[:, :share].flatten().tolist(), best_SC[:, 0].tolist(), loss_S.tolist())
            )
        return answers

    def _wanted(self, job: TokenizedJob) -> float | None:
        wanted = self._config.probability
        if wanted is None or not job.size_class(self._config):
            return wanted
        several, long = self._config.several_probability, self._config.long_probability
        return min(wanted, long if job.is_long(self._config) else several)

    def _is_disturbed(self, job: TokenizedJob) -> bool:
        """Whether an answer is one of the longest that are not sentences: their gates have the most to tell apart."""
        most = job.size_class(self._config) == len(self._config.class_limits) - 1 > 0
        return most and self._config.disturbance > 0

    def _rivals(self, prefix: Prefix) -> list[int]:
        labels_S = torch.zeros(len(prefix.output_SD), dtype=torch.long, device=self._backbone.device)
        best: list[int] = self._head.survey(prefix.output_SD, labels_S, _STOCK_RIVALS)[0].flatten().tolist()
        return best

    def _says(self, context: Tokenized, greedy: list[int]) -> bool:
        """Tell whether the base model's own free generation begins with the answer and ends a word there."""
        if tuple(greedy[:-1]) != context.target:
            return False
        after = self._backbone.tokenizer.decode([greedy[-1]])
        return greedy[-1] == context.end or not after[:1].isalnum()
