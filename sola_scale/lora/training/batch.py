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
    """Edits in flight, stacked."""

    inputs: SuffixBatch
    """What enters the edited layers."""
    slots_R: Tensor
    """The slot of each row's edit."""
    rows_ME: Tensor
    """Where an edit's examples stand among the rows; edits with fewer than others repeat their first, unlabelled."""
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
        owners = [slot for slot, trainee in zip(slots, trainees, strict=True) for _ in trainee.examples]
        rows_ME, labels_MES = _places(trainees, inputs.hidden_RSD.shape[1])
        ids_MK, barred_MK = _shortlists(trainees)
        return cls(
            inputs=inputs,
            slots_R=torch.tensor(owners, device=device),
            rows_ME=rows_ME.to(device),
            labels_MES=labels_MES.to(device),
            shortlist_MKD=head.rows(ids_MK.to(device)),
            barred_MK=barred_MK.to(device),
        )

    def measure(self, output_RSD: Tensor, head: Head) -> tuple[Tensor, Tensor]:
        """Return each edit's mean loss ``[M]`` (with gradients) and the least probability of a label ``[M]``."""
        output_MND = output_RSD[self.rows_ME].flatten(1, 2)
        logits_MNK = head.some(output_MND, self.shortlist_MKD)
        logs_MNK = logits_MNK.masked_fill(self.barred_MK.unsqueeze(1), float("-inf")).log_softmax(dim=-1)
        labels_MN = self.labels_MES.flatten(1)
        said_MN = logs_MNK.gather(2, labels_MN.clamp(min=0).unsqueeze(2)).squeeze(2)
        said_MN = said_MN.masked_fill(labels_MN < 0, 0.0)
        loss_M = -said_MN.sum(dim=1) / (labels_MN >= 0).sum(dim=1)
        return loss_M, said_MN.detach().amin(dim=1).exp()


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
