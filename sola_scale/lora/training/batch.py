"""The rows of a training step, and what is measured on them.

Shape legend: R rows (one per edit and context), S positions, K shortlisted tokens, M edits, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sola_scale.backbone.head import Head
from sola_scale.backbone.suffix import SuffixBatch
from sola_scale.lora.training.trainee import Example, Trainee


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Edits in flight, stacked."""

    inputs: SuffixBatch
    """What enters the edited layers."""
    owner_R: Tensor
    """Which edit of the batch a row belongs to."""
    slots_R: Tensor
    """The slot of that edit."""
    labels_RS: Tensor
    """Which shortlisted token is to be said; -1 on padding."""
    shortlist_RKD: tuple[Tensor, Tensor | None]
    """The head's rows of every row's shortlist."""
    barred_RK: Tensor
    """Where the shortlist is padding."""
    weights_RS: Tensor
    """Share of a position in its edit's loss."""

    @classmethod
    def stack(cls, trainees: Sequence[Trainee], slots: Sequence[int], head: Head) -> "Batch":
        """Stack all examples of all trainees."""
        rows = [(owner, example) for owner, trainee in enumerate(trainees) for example in trainee.examples]
        inputs = SuffixBatch.stack([example.prefix for _, example in rows])
        device = inputs.hidden_RSD.device
        owner_R = torch.tensor([owner for owner, _ in rows], device=device)
        ids_RK, barred_RK = _shortlists([trainees[owner] for owner, _ in rows])
        labels_RS = _labels(
            [(trainees[owner], example) for owner, example in rows], inputs.hidden_RSD.shape[1]
        )
        counts_M = torch.zeros(len(trainees)).index_add_(
            0, owner_R.cpu(), (labels_RS >= 0).sum(dim=1).float()
        )
        weights_RS = (labels_RS >= 0).float() / counts_M[owner_R.cpu()].unsqueeze(1)
        return cls(
            inputs=inputs,
            owner_R=owner_R,
            slots_R=torch.tensor([slots[owner] for owner, _ in rows], device=device),
            labels_RS=labels_RS.to(device),
            shortlist_RKD=head.rows(ids_RK.to(device)),
            barred_RK=barred_RK.to(device),
            weights_RS=weights_RS.to(device),
        )

    def measure(self, logits_RSK: Tensor, edits: int) -> tuple[Tensor, Tensor]:
        """Return each edit's loss ``[M]`` (with gradients) and the least probability of a label ``[M]``."""
        logs_RSK = logits_RSK.masked_fill(self.barred_RK.unsqueeze(1), float("-inf")).log_softmax(dim=-1)
        said_RS = logs_RSK.gather(2, self.labels_RS.clamp(min=0).unsqueeze(2)).squeeze(2)
        weighted_R = (-said_RS.masked_fill(self.labels_RS < 0, 0.0) * self.weights_RS).sum(dim=1)
        loss_M = weighted_R.new_zeros(edits).index_add(0, self.owner_R, weighted_R)
        least_R = said_RS.detach().masked_fill(self.labels_RS < 0, 0.0).amin(dim=1)
        least_M = least_R.new_zeros(edits).scatter_reduce(0, self.owner_R, least_R, "amin")
        return loss_M, least_M.exp()


def _shortlists(trainees: Sequence[Trainee]) -> tuple[Tensor, Tensor]:
    longest = max(len(trainee.shortlist) for trainee in trainees)
    ids_RK = torch.zeros((len(trainees), longest), dtype=torch.long)
    barred_RK = torch.ones((len(trainees), longest), dtype=torch.bool)
    for row, trainee in enumerate(trainees):
        ids_RK[row, : len(trainee.shortlist)] = torch.tensor(trainee.shortlist)
        barred_RK[row, : len(trainee.shortlist)] = False
    return ids_RK, barred_RK


def _labels(rows: Sequence[tuple[Trainee, Example]], positions: int) -> Tensor:
    labels_RS = torch.full((len(rows), positions), -1)
    for row, (trainee, example) in enumerate(rows):
        place = {token: which for which, token in enumerate(trainee.shortlist)}
        labels_RS[row, : len(example.labels)] = torch.tensor([place[label] for label in example.labels])
    return labels_RS
