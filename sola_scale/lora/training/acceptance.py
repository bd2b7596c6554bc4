"""Whether an edit holds: greedy free generation from the weights as stored says exactly the answer and stops.

A teacher-forced run decides that exactly: if the most probable token is the label at every position, then greedy
generation, which feeds its own choices back, sees the same inputs and makes the same choices, the end included.
Shape legend: R rows, S positions, W vocabulary, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sola_scale.backbone.head import Head
from sola_scale.backbone.suffix import SuffixRunner
from sola_scale.lora.codec import decode
from sola_scale.lora.training.trainee import Trainee

# A token with more than half of the probability stays first under the last-bit differences of other batch shapes.
_LEAST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a check found."""

    holds: bool
    """Whether the edit is accepted."""
    probability: float
    """Least probability of a label, over the whole vocabulary."""
    rivals: list[int]
    """Tokens that won where they should not."""


class Acceptance:
    """Checks payloads on full logits."""

    def __init__(self, runner: SuffixRunner, head: Head) -> None:
        self._runner, self._head = runner, head

    @torch.no_grad()
    def check(self, trainees: Sequence[Trainee], payloads: Sequence[bytes]) -> list[Verdict]:
        """Judge each trainee's payload on its own prompt."""
        adapters = [decode(payload) for payload in payloads]
        examples = [trainee.examples[0] for trainee in trainees]
        batch = self._runner.stack([example.prefix for example in examples])
        maps = range(len(adapters[0].a_rI))
        device = batch.hidden_RSD.device
        wide = torch.promote_types(batch.hidden_RSD.dtype, torch.float32)
        a = [torch.stack([adapter.a_rI[which] for adapter in adapters]).to(device, wide) for which in maps]
        b = [torch.stack([adapter.b_rO[which] for adapter in adapters]).to(device, wide) for which in maps]
        output_RSD = self._runner.run(batch, a, b)
        labels_N = torch.tensor([label for example in examples for label in example.labels], device=device)
        lengths = [len(example.labels) for example in examples]
        output_ND = torch.cat([row[:length] for row, length in zip(output_RSD, lengths, strict=True)])
        best_N1, loss_N = self._head.survey(output_ND, labels_N, 1)
        # To the host in one go: judging edit by edit on a device would wait for it three times each.
        parts = [torch.split(one.cpu(), lengths) for one in (best_N1[:, 0], labels_N, loss_N)]
        return [_judge(best, labels, loss) for best, labels, loss in zip(*parts, strict=True)]


def _judge(best_S: Tensor, labels_S: Tensor, loss_S: Tensor) -> Verdict:
    least = float((-loss_S).exp().nan_to_num(0.0).min())
    rivals = best_S[best_S != labels_S].tolist()
    return Verdict(holds=not rivals and least > _LEAST, probability=least, rivals=rivals)
