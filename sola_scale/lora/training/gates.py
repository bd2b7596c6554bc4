"""Where an edit's ``A`` starts: gates that open at one position of the answer, whatever the wording before it.

A paraphrase reaches the edited map with another input than the prompt did. The gate ``a`` of a position is therefore the
vector that answers 1 there and 0 at the answer's other positions and, among all such vectors, varies least from prompt to
prompt: ``min a^T C a`` subject to ``K a = e``, with ``C`` the mean of two covariances (``variation.py``): of the ends of
prompts, and of the positions of an answer about their own means over the prompts that it follows. What tells the
positions apart is thus free to be used, as in Fisher's discriminant. The closed form is
``a = C^-1 K^T (K C^-1 K^T)^-1 e``.

Shape legend: I inputs of a map, G reference positions of a class, H of both, S positions of an edit, Q constraints,
r gates.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sola_scale.lora.training.variation import Variation

_RIDGE = 0.1
_SLACK = 0.02


class Gates:
    """Solves for gates; the reference statistics are of the model alone, so an edit's gates depend on nothing else."""

    def __init__(self, variation: Variation) -> None:
        self._ends_I = [stream.ends_GW.mean(dim=0) for stream in variation.maps]
        self._metrics = [_Metric((stream.ends_GW, stream.inside_HW)) for stream in variation.maps]

    def solve(self, which: int, inputs: Sequence[Tensor], positions: Sequence[int]) -> Tensor:
        """Return the gates of some positions for one map, ``[r, I]``.

        Args:
            which: the map.
            inputs: what enters it at the edit's positions ``[S, I]``, in each of its contexts.
            positions: where each gate shall be open.
        """
        # The end of an ordinary prompt looks like position 0, whatever the prompt: paraphrases will.
        constraints_QI = torch.cat([torch.cat(list(inputs)).double(), self._ends_I[which].unsqueeze(0)])
        places_Q1 = torch.tensor([*(place for one in inputs for place in range(len(one))), 0]).unsqueeze(1)
        wanted_Qr = (places_Q1 == torch.tensor(positions)).to(constraints_QI)
        return self._metrics[which].least_varying(constraints_QI, wanted_Qr)


class _Metric:
    """``C = X^T X + ridge`` of reference inputs, each centred in its class, inverted through the H x H side (Woodbury)."""

    def __init__(self, classes: Sequence[Tensor]) -> None:
        shares = [(one_GI - one_GI.mean(dim=0)) / (len(classes) * len(one_GI)) ** 0.5 for one_GI in classes]
        self._centred_HI = torch.cat(shares)
        self._ridge = _RIDGE * float(self._centred_HI.square().sum(dim=0).mean()) + 1e-12
        gram_HH = self._centred_HI @ self._centred_HI.T
        self._inverse_HH = torch.linalg.inv(gram_HH + self._ridge * torch.eye(len(gram_HH)).to(gram_HH))

    def least_varying(self, constraints_QI: Tensor, wanted_Qr: Tensor) -> Tensor:
        """Return the vectors that meet the constraints (but for a little slack) and vary least."""
        solved_QI = self._solve(constraints_QI)
        gram_QQ = constraints_QI @ solved_QI.T
        gram_QQ += _SLACK * gram_QQ.diagonal().mean() * torch.eye(len(gram_QQ)).to(gram_QQ)
        gates_rI: Tensor = torch.linalg.solve(gram_QQ, wanted_Qr).T @ solved_QI
        return gates_rI

    def _solve(self, rows_QI: Tensor) -> Tensor:
        through_QH = rows_QI @ self._centred_HI.T @ self._inverse_HH
        solved_QI: Tensor = (rows_QI - through_QH @ self._centred_HI) / self._ridge
        return solved_QI
