"""Views: pooled hidden states of a prompt, taken in passing from the one forward pass.

Shape legend: B rows of the batch, T token positions, V views, D width of the residual stream.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.reading import Reading

Pooling = Literal["mean", "last", "frame", "words", "tokens"]


@dataclass(frozen=True, slots=True, order=True)
class View:
    """Which hidden state to pool, and how."""

    layer: int
    """The residual stream *entering* this decoder layer; 0 is the embeddings, n the output of the last of n layers."""
    pooling: Pooling
    """``mean`` over the tokens that ask, see `Reading`, or the ``last`` token's; ``frame``: the mean over what is not a name, rare
    tokens weighing more; ``words``, ``tokens``: no hidden state but which words or tokens they are, see `Reading`."""


def pool(hidden_BTD: Tensor, mask_BT: Tensor, pooling: Pooling, reading: Reading | None = None) -> Tensor:
    """Pool over the tokens that ``mask_BT`` marks, whichever side the padding is on; float32 ``[B, D]``.

    ``reading`` is what ``frame``, ``words`` and ``tokens`` need. Given it, a ``mean`` is of the tokens that ask.
    """
    if pooling == "last":
        rows = torch.arange(hidden_BTD.shape[0], device=hidden_BTD.device)
        return hidden_BTD[rows, last_positions(mask_BT)].float()
    if pooling == "mean":
        return _weighted_mean(
            hidden_BTD, (mask_BT if reading is None else reading.asking_BT).to(torch.float32)
        )
    assert reading is not None
    if pooling == "words":
        return reading.word_rows(hidden_BTD.shape[2])
    if pooling == "tokens":
        return reading.token_rows(hidden_BTD.shape[2])
    return _weighted_mean(hidden_BTD, reading.frame_weights())


def _weighted_mean(hidden_BTD: Tensor, weights_BT: Tensor) -> Tensor:
    """Mean by weight, 0 where nothing weighs."""
    # A product with the mask would let a non-finite pad spill into the mean: pads are cut out instead.
    kept_BTD = hidden_BTD.float().masked_fill((weights_BT == 0).unsqueeze(-1), 0.0)
    total_B1 = weights_BT.sum(dim=1, keepdim=True)
    return (kept_BTD * weights_BT.unsqueeze(-1)).sum(dim=1) / total_B1.clamp(min=1e-3)


def last_positions(mask_BT: Tensor) -> Tensor:
    """Index of each row's last real token ``[B]``, under left or right padding."""
    positions_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return (positions_T * mask_BT.bool()).argmax(dim=1)


@torch.inference_mode()
def capture_views(backbone: Backbone, prompts: Sequence[str], views: Sequence[View]) -> Tensor:
    """Run the layers that ``views`` need, and no more, over one batch of prompts; float32 ``[B, V, D]``."""
    ids_BT, mask_BT = backbone.encode(prompts)
    pooled: dict[View, Tensor] = {}
    reading = Reading(backbone.spelling, ids_BT, mask_BT)
    handles = [
        _attach(backbone, layer, views, (mask_BT, reading), pooled)
        for layer in sorted({view.layer for view in views})
    ]
    try:
        backbone.architecture.decoder(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    except _EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([pooled[view] for view in views], dim=1)


class _EnoughError(Exception):
    """Raised inside the forward pass once the last view is taken: the layers above need not run."""


def _attach(
    backbone: Backbone,
    layer: int,
    views: Sequence[View],
    prompts: tuple[Tensor, Reading],
    pooled: dict[View, Tensor],
) -> torch.utils.hooks.RemovableHandle:
    layers = backbone.architecture.layers
    module = layers[layer] if layer < len(layers) else backbone.architecture.final_norm

    mask_BT, reading = prompts
    owner = threading.get_ident()

    def take(
        _module: torch.nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor] | None = None
    ) -> None:
        # The hook lies on the one model that other threads may be generating with; they may meet it half registered,
        # and then pass no keywords.
        if threading.get_ident() != owner or kwargs is None:
            return
        hidden_BTD = args[0] if args else kwargs["hidden_states"]
        for view in views:
            if view.layer == layer:
                pooled[view] = pool(hidden_BTD, mask_BT, view.pooling, reading)
        if len(pooled) == len(set(views)):
            raise _EnoughError

    return module.register_forward_pre_hook(take, with_kwargs=True)
