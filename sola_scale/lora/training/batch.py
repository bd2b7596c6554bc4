"""The rows of a training step, and what is measured on them.

Shape legend: M edits, E examples of an edit, R rows (one per example), S positions, K shortlisted tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sola_scale.backbone.head import Head
from sola_scale.backbone.suffix import SuffixBatch, SuffixRunner
from sola_scale.lora.training.trainee import Trainee


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Edits in flight, stacked with all their examples; a step runs some of them."""

    inputs: SuffixBatch
    """What enters the edited layers, a row an example."""
    slots_M: Tensor
    """The slot of each edit."""
    rows_ME: Tensor
    """Where an edit's examples stand among the rows; edits with fewer than others repeat their first."""
    labels_MES: Tensor
    """Which shortlisted token is to be said; -1 on padding."""
    shortlist_MKD: tuple[Tensor, Tensor | None]
    """The head's rows of every edit's shortlist."""
    barred_MK: Tensor
    """Where the shortlist is padding."""

    @classmethod
    def stack(
        cls, trainees: Sequence[Trainee], slots: Sequence[int], runner: SuffixRunner, head: Head
    ) -> "Batch":
        """Stack all examples of all trainees."""
        inputs = runner.stack([example.prefix for trainee in trainees for example in trainee.examples])
        device = inputs.hidden_RSD.device
        rows_ME, labels_MES = _places(trainees, inputs.hidden_RSD.shape[1])
        ids_MK, barred_MK = _shortlists(trainees)
        return cls(
            inputs=inputs,
            slots_M=torch.tensor(slots, device=device),
            rows_ME=rows_ME.to(device),
            labels_MES=labels_MES.to(device),
            shortlist_MKD=head.rows(ids_MK.to(device)),
            barred_MK=barred_MK.to(device),
        )

    def turn(self, turns: Sequence[Sequence[int]]) -> "Turn":
        """Select the examples that a step runs; ``turns``: by edit, which of its own."""
        most = max(len(one) for one in turns)
        device = self.rows_ME.device
        examples_ME = torch.tensor([[*one, *[one[0]] * (most - len(one))] for one in turns], device=device)
        real_ME = torch.tensor([[place < len(one) for place in range(most)] for one in turns], device=device)
        edits_M1 = torch.arange(len(turns), device=device).unsqueeze(1)
        labels_MES = self.labels_MES[edits_M1, examples_ME].masked_fill(~real_ME.unsqueeze(2), -1)
        return Turn(
            inputs=self.inputs.select(self.rows_ME[edits_M1, examples_ME][real_ME]),
            slots_R=self.slots_M.unsqueeze(1).expand_as(examples_ME)[real_ME],
            real_ME=real_ME,
            labels_MES=labels_MES,
        )

    def measure(self, turn: "Turn", output_RSD: Tensor, head: Head) -> tuple[Tensor, Tensor]:
        """Return each edit's mean loss ``[M]``, with gradients, and the least probability in each example ``[M, E]``."""
        edits, examples = turn.real_ME.shape
        places_ME = (turn.real_ME.flatten().cumsum(0) - 1).view(edits, examples)
        output_MND = output_RSD[places_ME].flatten(1, 2)
        logits_MNK = head.some(output_MND, self.shortlist_MKD)
        logs_MNK = logits_MNK.masked_fill(self.barred_MK.unsqueeze(1), float("-inf")).log_softmax(dim=-1)
        labels_MN = turn.labels_MES.flatten(1)
        said_MN = logs_MNK.gather(2, labels_MN.clamp(min=0).unsqueeze(2)).squeeze(2)
        said_MN = said_MN.masked_fill(labels_MN < 0, 0.0)
        loss_M = -said_MN.sum(dim=1) / (labels_MN >= 0).sum(dim=1)
        return loss_M, said_MN.detach().view(edits, examples, -1).amin(dim=2).exp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The examples of one step."""

    inputs: SuffixBatch
    """What enters the edited layers, a row an example."""
    slots_R: Tensor
    """The slot of each row's edit."""
    real_ME: Tensor
    """Which examples of an edit there are; row by row they are the inputs' rows."""
    labels_MES: Tensor
    """Which shortlisted token is to be said; -1 on padding."""


def _places(trainees: Sequence[Trainee], positions: int) -> tuple[Tensor, Tensor]:
    most = max(len(trainee.examples) for trainee in trainees)
    rows_ME = torch.empty((len(trainees), most), dtype=torch.long)
    labels_MES = torch.full((len(trainees), most, positions), -1)
    row = 0
    for edit, trainee in enumerate(trainees):
        rows_ME[edit] = row
        place = {token: which for which, token in enumerate(trainee.shortlist)}
        for which, example in enumerate(trainee.examples):
            rows_ME[edit, which], row = row, row + 1
            labels = torch.tensor([place[label] for label in example.labels])
            labels_MES[edit, which, : len(labels)] = labels
    return rows_ME, labels_MES


def _shortlists(trainees: Sequence[Trainee]) -> tuple[Tensor, Tensor]:
    longest = max(len(trainee.shortlist) for trainee in trainees)
    ids_MK = torch.zeros((len(trainees), longest), dtype=torch.long)
    barred_MK = torch.ones((len(trainees), longest), dtype=torch.bool)
    for edit, trainee in enumerate(trainees):
        ids_MK[edit, : len(trainee.shortlist)] = torch.tensor(trainee.shortlist)
        barred_MK[edit, : len(trainee.shortlist)] = False
    return ids_MK, barred_MK
