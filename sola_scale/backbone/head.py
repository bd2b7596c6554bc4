"""The language-model head, whole or restricted to a few tokens.

Shape legend: R rows, S positions of a row, N positions of many rows, K shortlisted tokens, D width, W vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from sola_scale.backbone.loading import Backbone

_POSITIONS = 256


class Head:
    """Turns states after the final norm into logits, the same ones as the model's own."""

    def __init__(self, backbone: Backbone) -> None:
        self._head: Any = backbone.architecture.head
        config = backbone.model.config.get_text_config(decoder=True)
        self._softcap: float | None = getattr(config, "final_logit_softcapping", None)

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the head knows."""
        return int(self._head.weight.shape[0])

    def full(self, output_SD: Tensor) -> Tensor:
        """Return the logits of the whole vocabulary, ``[..., W]``."""
        return self._cap(_wide(self._head(output_SD)))

    @torch.no_grad()
    def survey(self, output_ND: Tensor, labels_N: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the ``count`` strongest tokens ``[N, count]`` and the cross-entropy of a label ``[N]`` at each position.

        The vocabulary's weights are read once for many positions; logits exist for a few hundred at a time.
        """
        best, losses = [], []
        parts = zip(torch.split(output_ND, _POSITIONS), torch.split(labels_N, _POSITIONS), strict=True)
        for part_ND, part_N in parts:
            logits_NW = self.full(part_ND)
            best.append(logits_NW.topk(min(count, self.vocabulary), dim=-1).indices)
            losses.append(logits_NW.logsumexp(dim=-1) - logits_NW.gather(1, part_N.unsqueeze(1)).squeeze(1))
        return torch.cat(best), torch.cat(losses)

    def rows(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the head's weights ``[..., D]`` and biases of given tokens."""
        bias: Tensor | None = getattr(self._head, "bias", None)
        weight: Tensor = self._head.weight
        return weight[ids], None if bias is None else bias[ids]

    def some(self, output_RSD: Tensor, rows: tuple[Tensor, Tensor | None]) -> Tensor:
        """Return the logits ``[R, S, K]`` of every row's own tokens, whose head rows are ``[R, K, D]``."""
        weight_RKD, bias_RK = rows
        logits_RSK = _wide(torch.bmm(output_RSD, weight_RKD.transpose(1, 2)))
        return self._cap(logits_RSK if bias_RK is None else logits_RSK + bias_RK.unsqueeze(1))

    def _cap(self, logits: Tensor) -> Tensor:
        return logits if self._softcap is None else self._softcap * torch.tanh(logits / self._softcap)


def _wide(logits: Tensor) -> Tensor:
    """Probabilities of half-precision models are computed in float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
