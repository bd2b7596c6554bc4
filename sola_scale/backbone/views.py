"""Views: pooled hidden states of a prompt, taken in passing from the one forward pass.

Shape legend: B rows of the batch, T token positions, V views, D width of the residual stream.

The view of the tokens themselves is a row of numbers like the others, so that whatever takes views, carries or keeps
them takes the tokens too: a token's number is written as two digits of base `DIGIT`, which float16 holds exactly.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sola_scale.backbone.loading import Backbone

Pooling = Literal["mean", "last", "tokens"]

TOKENS = 24
"""A view of the tokens holds this many, the last ones of the prompt, if the row is wide enough."""
DIGIT = 1024
"""float16 holds the whole numbers up to twice this, so two digits name any token of a vocabulary of two million."""


@dataclass(frozen=True, slots=True, order=True)
class View:
    """Which hidden state to pool, and how."""

    layer: int
    """The residual stream *entering* this decoder layer; 0 is the embeddings, n the output of the last of n layers."""
    pooling: Pooling
    """``mean`` over the prompt's tokens, or the ``last`` token's; ``tokens``: which tokens they are, see `token_row`."""


def pool(hidden_BTD: Tensor, mask_BT: Tensor, pooling: Pooling, ids_BT: Tensor | None = None) -> Tensor:
    """Pool over the tokens that ``mask_BT`` marks, whichever side the padding is on; float32 ``[B, D]``.

    ``ids_BT`` is what ``tokens`` reads; without it, as for a prompt given as embeddings, no token is known.
    """
    if pooling == "tokens":
        return token_row(ids_BT, mask_BT, hidden_BTD.shape[2])
    if pooling == "last":
        rows = torch.arange(hidden_BTD.shape[0], device=hidden_BTD.device)
        return hidden_BTD[rows, last_positions(mask_BT)].float()
    weights_BT = mask_BT.to(torch.float32)
    # A product with the mask would let a non-finite pad spill into the mean: pads are cut out instead.
    kept_BTD = hidden_BTD.float().masked_fill(~mask_BT.bool().unsqueeze(-1), 0.0)
    return kept_BTD.sum(dim=1) / weights_BT.sum(dim=1, keepdim=True).clamp(min=1.0)


def token_row(ids_BT: Tensor | None, mask_BT: Tensor, width: int) -> Tensor:
    """Write the last `TOKENS` tokens of each row, the very last one first, as pairs of digits; float32 ``[B, width]``.

    Token i is ``(i // DIGIT + 1, i % DIGIT)``; where there is none, both are 0.
    """
    row_BD = torch.zeros((mask_BT.shape[0], width), device=mask_BT.device)
    if ids_BT is None:
        return row_BD
    real_BT = mask_BT.bool()
    following_BT = real_BT.sum(dim=1, keepdim=True) - real_BT.cumsum(dim=1)
    rows_N, places_N = torch.nonzero(real_BT & (following_BT < min(TOKENS, width // 2)), as_tuple=True)
    digits_N = 2 * following_BT[rows_N, places_N]
    ids_N = ids_BT[rows_N, places_N]
    row_BD[rows_N, digits_N] = (ids_N // DIGIT + 1).float()
    row_BD[rows_N, digits_N + 1] = (ids_N % DIGIT).float()
    return row_BD


def last_positions(mask_BT: Tensor) -> Tensor:
    """Index of each row's last real token ``[B]``, under left or right padding."""
    positions_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return (positions_T * mask_BT.bool()).argmax(dim=1)


@torch.inference_mode()
def capture_views(backbone: Backbone, prompts: Sequence[str], views: Sequence[View]) -> Tensor:
    """Run the layers that ``views`` need, and no more, over one batch of prompts; float32 ``[B, V, D]``."""
    ids_BT, mask_BT = backbone.encode(prompts)
    pooled: dict[View, Tensor] = {}
    handles = [
        _attach(backbone, layer, views, (ids_BT, mask_BT), pooled)
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
    prompts: tuple[Tensor, Tensor],
    pooled: dict[View, Tensor],
) -> torch.utils.hooks.RemovableHandle:
    layers = backbone.architecture.layers
    module = layers[layer] if layer < len(layers) else backbone.architecture.final_norm

    ids_BT, mask_BT = prompts
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
                pooled[view] = pool(hidden_BTD, mask_BT, view.pooling, ids_BT)
        if len(pooled) == len(set(views)):
            raise _EnoughError

    return module.register_forward_pre_hook(take, with_kwargs=True)
