"""The part of the model that an edit can change: the layers from the first edited one on, at the positions it touches.

Shape legend: R rows, N adapters, S positions, P cached prompt positions, D width, r rank, I inputs and O outputs of a
linear map, H key/value heads, E size of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sola_scale.backbone.caches import PrefixCache
from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.prefix import Prefix
from sola_scale.backbone.private import PrivateDecoder, StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class SuffixBatch:
    """Prefixes stacked for one run: prompts padded on the left, targets on the right, so that they meet."""

    ids_RS: Tensor
    """Token ids, for decoders that want some; only their shape matters."""
    hidden_RSD: Tensor
    """The residual stream entering the first edited layer."""
    mask_RT: Tensor
    """1 where a key may be seen, over cached and own positions together."""
    positions_RS: Tensor
    """Absolute position of each token."""
    cache: PrefixCache
    """The prompts' keys and values."""

    @classmethod
    def stack(cls, prefixes: Sequence[Prefix]) -> "SuffixBatch":
        """Pad and stack."""
        longest = max(prefix.position for prefix in prefixes)
        steps = max(prefix.hidden_SD.shape[0] for prefix in prefixes)
        first = prefixes[0].hidden_SD
        hidden_RSD = first.new_zeros((len(prefixes), steps, first.shape[1]))
        mask_RT = torch.ones((len(prefixes), longest + steps), dtype=torch.long, device=first.device)
        for row, prefix in enumerate(prefixes):
            hidden_RSD[row, : prefix.hidden_SD.shape[0]] = prefix.hidden_SD
            mask_RT[row, : longest - prefix.position] = 0
        starts_R1 = torch.tensor([[prefix.position] for prefix in prefixes], device=first.device)
        return cls(
            ids_RS=torch.zeros((len(prefixes), steps), dtype=torch.long, device=first.device),
            hidden_RSD=hidden_RSD,
            mask_RT=mask_RT,
            positions_RS=starts_R1 + torch.arange(steps, device=first.device),
            cache=PrefixCache(_stack_caches(prefixes, longest), longest),
        )


class SuffixRunner:
    """Runs the layers from the first edited one on, with a low-rank change of its own for every row."""

    def __init__(self, backbone: Backbone, paths: Sequence[str], first_layer: int) -> None:
        """Prepare.

        Args:
            backbone: the base model.
            paths: dotted paths, inside the whole model, of the edited linear maps.
            first_layer: the lowest layer that holds one of them.
        """
        private = PrivateDecoder(backbone.model, backbone.architecture)
        self._edited = [Edited(private.get(path)) for path in paths]
        for path, edited in zip(paths, self._edited, strict=True):
            private.replace(path, edited)
        for layer in range(first_layer):
            private.layers[layer] = _Skip(private.layers[layer])
        self._entry = _Entry(private.layers[first_layer])
        private.layers[first_layer] = self._entry
        self._decoder = private.decoder

    def run(self, batch: SuffixBatch, a_RrI: Sequence[Tensor], b_RrO: Sequence[Tensor]) -> Tensor:
        """Return the state after the final norm ``[R, S, D]``.

        Args:
            batch: the rows.
            a_RrI: for every edited map, each row's ``A``.
            b_RrO: for every edited map, each row's ``B``.
        """
        self._entry.hidden = batch.hidden_RSD
        for edited, a, b in zip(self._edited, a_RrI, b_RrO, strict=True):
            edited.adapt(a, b)
        try:
            out = self._decoder(
                input_ids=batch.ids_RS,
                attention_mask=batch.mask_RT,
                position_ids=batch.positions_RS,
                past_key_values=batch.cache,
                use_cache=True,
            )
        finally:
            self._entry.hidden = None
            for edited in self._edited:
                edited.clear()
        output_RSD: Tensor = out.last_hidden_state
        return output_RSD


class Edited(nn.Module):
    """A frozen linear map plus a low-rank change of its own for every row: ``W x + (x A^T) B``."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self._a_RrI: Tensor | None = None
        self._b_RrO: Tensor | None = None

    def adapt(self, a_RrI: Tensor, b_RrO: Tensor) -> None:
        """Set the rows' changes for the runs that follow."""
        self._a_RrI, self._b_RrO = a_RrI, b_RrO

    def clear(self) -> None:
        """Forget them."""
        self._a_RrI = self._b_RrO = None

    def forward(self, x_RSI: Tensor) -> Tensor:
        """Apply to ``[R, S, d_in]``."""
        base_RSO: Tensor = self.linear(x_RSI)
        if self._a_RrI is None or self._b_RrO is None:
            return base_RSO
        narrow_RSr = torch.bmm(x_RSI.to(self._a_RrI.dtype), self._a_RrI.transpose(1, 2))
        return base_RSO + torch.bmm(narrow_RSr, self._b_RrO).to(base_RSO.dtype)


class _Skip(StandIn):
    """A layer below the first edited one: its work is in the prefix already."""

    def forward(self, hidden_RSD: Tensor, *_: object, **__: object) -> Tensor:
        return hidden_RSD


class _Entry(StandIn):
    """The first edited layer: takes the cached states in place of what comes from below."""

    hidden: Tensor | None = None

    def forward(self, hidden_RSD: Tensor, *args: object, **kwargs: object) -> object:
        assert self.hidden is not None, "no batch was set"
        return self.layer(self.hidden.to(hidden_RSD.dtype), *args, **kwargs)


def _stack_caches(prefixes: Sequence[Prefix], longest: int) -> dict[int, tuple[Tensor, Tensor]]:
    stacked = {}
    for layer, (sample, _) in prefixes[0].cache.items():
        pair = torch.zeros(
            (2, len(prefixes), sample.shape[0], longest, sample.shape[2]),
            dtype=sample.dtype,
            device=sample.device,
        )
        for row, prefix in enumerate(prefixes):
            for which, states_HPE in enumerate(prefix.cache[layer]):
                pair[which, row, :, longest - prefix.position :] = states_HPE
        stacked[layer] = (pair[0], pair[1])
    return stacked
