"""The rows of a training step, and what is measured on them.

Shape legend: M edits, E examples of an edit, R rows (one per example), S positions, K shortlisted tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from sola_scale.backbone.head import Head
from sola_scale.backbone.suffix import SuffixBatch, SuffixRunner
from sola_scale.lora.training.trainee import Trainee


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Edits in flight, stacked with all their examples; a step runs some of them.

    Which ones is worked out on the host: a mask on a device would make every step wait for it.
    """

    inputs: SuffixBatch
    """What enters the edited layers, a row an example."""
    slots: Sequence[int]
    """The slot of each edit."""
    starts: Sequence[int]
    """The row of each edit's first example; the others follow."""
    labels_MES: Tensor
    """Which shortlisted token is to be said; -1 on padding, and in one example more than there are."""
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
        counts = [len(trainee.examples) for trainee in trainees]
        ids_MK, barred_MK = _shortlists(trainees)
        return cls(
            inputs=inputs,
            slots=slots,
            starts=[0, *accumulate(counts)][:-1],
            labels_MES=_labels(trainees, inputs.hidden_RSD.shape[1]).to(device),
            shortlist_MKD=head.rows(ids_MK.to(device)),
            barred_MK=barred_MK.to(device),
        )

    def turn(self, turns: Sequence[Sequence[int]]) -> "Turn":
        """Select the examples that a step runs; ``turns``: by edit, which of its own."""
        most = max(len(one) for one in turns)
        device = self.labels_MES.device
        edits = [edit for edit, own in enumerate(turns) for _ in own]
        rows = [self.starts[edit] + example for edit, own in enumerate(turns) for example in own]
        firsts = [0, *accumulate(len(own) for own in turns)]
        places = [
            [first + (place if place < len(own) else 0) for place in range(most)]
            for first, own in zip(firsts, turns, strict=False)
        ]
        none = self.labels_MES.shape[1] - 1
        examples_ME = torch.tensor([[*own, *[none] * (most - len(own))] for own in turns], device=device)
        return Turn(
            inputs=self.inputs.select(torch.tensor(rows, device=device)),
            slots_R=torch.tensor([self.slots[edit] for edit in edits], device=device),
            places_ME=torch.tensor(places, device=device),
            labels_MES=self.labels_MES.take_along_dim(examples_ME.unsqueeze(2), dim=1),
        )

    def measure(self, turn: "Turn", output_RSD: Tensor, head: Head) -> tuple[Tensor, Tensor]:
        """Return each edit's mean loss ``[M]``, with gradients, and the least probability in each example ``[M, E]``."""
        output_MND = output_RSD[turn.places_ME].flatten(1, 2)
        logits_MNK = head.some(output_MND, self.shortlist_MKD)
        logs_MNK = logits_MNK.masked_fill(self.barred_MK.unsqueeze(1), float("-inf")).log_softmax(dim=-1)
        labels_MN = turn.labels_MES.flatten(1)
        said_MN = logs_MNK.gather(2, labels_MN.clamp(min=0).unsqueeze(2)).squeeze(2)
        said_MN = said_MN.masked_fill(labels_MN < 0, 0.0)
        loss_M = -said_MN.sum(dim=1) / (labels_MN >= 0).sum(dim=1)
        return loss_M, said_MN.detach().view(*turn.places_ME.shape, -1).amin(dim=2).exp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The examples of one step."""

    inputs: SuffixBatch
    """What enters the edited layers, a row an example."""
    slots_R: Tensor
    """The slot of each row's edit."""
    places_ME: Tensor
    """Where an edit's examples stand among the inputs' rows; edits with fewer than others repeat their first."""
    labels_MES: Tensor
    """Which shortlisted token is to be said; -1 on padding."""


def _labels(trainees: Sequence[Trainee], positions: int) -> Tensor:
    most = max(len(trainee.examples) for trainee in trainees)
    labels_MES = torch.full((len(trainees), most + 1, positions), -1)
    for edit, trainee in enumerate(trainees):
        place = {token: which for which, token in enumerate(trainee.shortlist)}
        for which, example in enumerate(trainee.examples):
            labels = torch.tensor([place[label] for label in example.labels])
            labels_MES[edit, which, : len(labels)] = labels
    return labels_MES


def _shortlists(trainees: Sequence[Trainee]) -> tuple[Tensor, Tensor]:
    longest = max(len(trainee.shortlist) for trainee in trainees)
    ids_MK = torch.zeros((len(trainees), longest), dtype=torch.long)
    barred_MK = torch.ones((len(trainees), longest), dtype=torch.bool)
    for edit, trainee in enumerate(trainees):
        ids_MK[edit, : len(trainee.shortlist)] = torch.tensor(trainee.shortlist)
        barred_MK[edit, : len(trainee.shortlist)] = False
    return ids_MK, barred_MK
