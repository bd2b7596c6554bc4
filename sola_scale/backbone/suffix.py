"""The part of the model that an edit can change: the layers from the first edited one on, at the positions it touches.

Shape legend: R rows, N adapters, S positions, P cached prompt positions, L either, D width, r rank, I inputs and O outputs of a
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
    settled: tuple[Tensor, Tensor] | None
    """What enters the settled map and what the base model's map makes of it, ``[R, S, I]`` and ``[R, S, O]``."""
    shift_RSI: tuple[Tensor, ...] | None = None
    """By edited map, what the rows' changes see beside its inputs; the frozen map does not see it. None: nothing."""
    noise_RSr: tuple[Tensor, ...] | None = None
    """By edited map, what is added to the answers of the rows' ``A``. None: nothing."""

    def select(self, rows_R: Tensor) -> "SuffixBatch":
        """Return a batch of some of the rows."""
        return SuffixBatch(
            ids_RS=self.ids_RS[rows_R],
            hidden_RSD=self.hidden_RSD[rows_R],
            mask_RT=self.mask_RT[rows_R],
            positions_RS=self.positions_RS[rows_R],
            cache=self.cache.select(rows_R),
            settled=None if self.settled is None else (self.settled[0][rows_R], self.settled[1][rows_R]),
            shift_RSI=None if self.shift_RSI is None else tuple(one[rows_R] for one in self.shift_RSI),
            noise_RSr=None if self.noise_RSr is None else tuple(one[rows_R] for one in self.noise_RSr),
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
        self._first = first_layer
        self._settled_map = _settled_map(backbone, paths, first_layer)
        self._settled: _Settled | None = None
        if self._settled_map is not None:
            self._settled = _Settled(self._edited[self._settled_map])
            private.replace(paths[self._settled_map].rpartition(".")[0], self._settled)
        for layer in range(first_layer):
            private.layers[layer] = _Skip(private.layers[layer])
        self._entry = _Entry(private.layers[first_layer])
        private.layers[first_layer] = self._entry
        self._decoder = private.decoder

    def stack(self, prefixes: Sequence[Prefix]) -> SuffixBatch:
        """Pad and stack prefixes that were captured for the same maps."""
        longest = max(prefix.position for prefix in prefixes)
        own = _Stacking([len(prefix.hidden_SD) for prefix in prefixes], prefixes[0].hidden_SD.device)
        before = _Stacking([prefix.position for prefix in prefixes], own.device, behind=False)
        hidden_RSD = own.stack([prefix.hidden_SD for prefix in prefixes])
        ids_RS = torch.zeros(hidden_RSD.shape[:2], dtype=torch.long, device=own.device)
        starts_R1 = torch.tensor([[prefix.position] for prefix in prefixes], device=own.device)
        layers = [layer for layer in prefixes[0].cache if layer > self._first or self._settled is None]
        stacked = {layer: before.stack([prefix.cache[layer] for prefix in prefixes]) for layer in layers}
        pairs = {layer: both.permute(2, 0, 3, 1, 4).unbind(0) for layer, both in stacked.items()}
        return SuffixBatch(
            ids_RS=ids_RS,
            hidden_RSD=hidden_RSD,
            mask_RT=torch.cat([(before.places_RL > 0).long(), torch.ones_like(ids_RS)], dim=1),
            positions_RS=starts_R1 + torch.arange(ids_RS.shape[1], device=own.device),
            cache=PrefixCache({layer: (keys, values) for layer, (keys, values) in pairs.items()}, longest),
            settled=self._settle(prefixes, own),
        )

    @torch.no_grad()
    def _settle(self, prefixes: Sequence[Prefix], own: "_Stacking") -> tuple[Tensor, Tensor] | None:
        """Return what no step can change of the settled map: its inputs, and the base model's outputs."""
        if self._settled_map is None:
            return None
        inputs_RSI = own.stack([prefix.inputs_SI[self._settled_map] for prefix in prefixes])
        return inputs_RSI, self._edited[self._settled_map].linear(inputs_RSI)

    def run(self, batch: SuffixBatch, a_RrI: Sequence[Tensor], b_RrO: Sequence[Tensor]) -> Tensor:
        """Return the state after the final norm ``[R, S, D]``.

        Args:
            batch: the rows.
            a_RrI: for every edited map, each row's ``A``.
            b_RrO: for every edited map, each row's ``B``.
        """
        self._entry.hidden = batch.hidden_RSD
        if self._settled is not None:
            self._settled.known = batch.settled
        nothing = [None] * len(self._edited)
        shifts, noises = batch.shift_RSI or nothing, batch.noise_RSr or nothing
        for edited, a, b, *moved in zip(self._edited, a_RrI, b_RrO, shifts, noises, strict=True):
            edited.adapt(a, b, *moved)
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
            if self._settled is not None:
                self._settled.known = None
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
        self._shift_RSI: Tensor | None = None
        self._noise_RSr: Tensor | None = None

    def adapt(
        self,
        a_RrI: Tensor,
        b_RrO: Tensor,
        shift_RSI: Tensor | None = None,
        noise_RSr: Tensor | None = None,
    ) -> None:
        """Set the rows' changes, and what disturbs them, for the runs that follow."""
        self._a_RrI, self._b_RrO = a_RrI, b_RrO
        self._shift_RSI, self._noise_RSr = shift_RSI, noise_RSr

    def clear(self) -> None:
        """Forget them."""
        self._a_RrI = self._b_RrO = self._shift_RSI = self._noise_RSr = None

    def forward(self, x_RSI: Tensor) -> Tensor:
        """Apply to ``[R, S, d_in]``."""
        return self.change(x_RSI, self.linear(x_RSI))

    def change(self, x_RSI: Tensor, base_RSO: Tensor) -> Tensor:
        """Add the rows' changes to what the frozen map makes of ``[R, S, d_in]``."""
        if self._a_RrI is None or self._b_RrO is None:
            return base_RSO
        seen_RSI = x_RSI if self._shift_RSI is None else x_RSI + self._shift_RSI
        narrow_RSr = torch.bmm(seen_RSI.to(self._a_RrI.dtype), self._a_RrI.transpose(1, 2))
        if self._noise_RSr is not None:
            narrow_RSr = narrow_RSr + self._noise_RSr
        return base_RSO + torch.bmm(narrow_RSr, self._b_RrO).to(base_RSO.dtype)


class _Settled(nn.Module):
    """The attention of the first edited layer where only its output projection is edited: all before that is settled.

    Attention modules of transformers return their output and their weights, which nobody asks for here.
    """

    def __init__(self, projection: Edited) -> None:
        super().__init__()
        self.projection = projection
        self.known: tuple[Tensor, Tensor] | None = None

    def forward(self, *_: object, **__: object) -> tuple[Tensor, None]:
        assert self.known is not None, "no batch was set"
        return self.projection.change(*self.known), None


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


def _settled_map(backbone: Backbone, paths: Sequence[str], first_layer: int) -> int | None:
    """Return which edited map is the attention's output projection of the first layer, if nothing before it is edited."""
    parts = backbone.architecture
    path = parts.module_path(first_layer, parts.attention_projection)
    inside = [one for one in paths if one.startswith(f"{path.rpartition('.')[0]}.")]
    return list(paths).index(path) if inside == [path] else None


class _Stacking:
    """Stacks tensors ``[L, ...]`` of unlike lengths, zeros behind or before them, in two operations for any number.

    One copy a tensor would be hundreds of kernels on a GPU, each time that an edit leaves.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device, *, behind: bool = True) -> None:
        self.device = device
        lengths_R1 = torch.tensor(lengths).unsqueeze(1)
        width = max(lengths)
        places_RL = torch.arange(width) - (0 if behind else width - lengths_R1)
        starts_R1 = lengths_R1.cumsum(dim=0) - lengths_R1 + 1
        real_RL = (places_RL >= 0) & (places_RL < lengths_R1)
        self.places_RL = torch.where(real_RL, starts_R1 + places_RL, 0).to(device)
        """Where each position stands among all of them; 0: it is padding."""

    def stack(self, rows: Sequence[Tensor]) -> Tensor:
        """Return ``[R, L, ...]``."""
        together = torch.cat([rows[0].new_zeros((1, *rows[0].shape[1:])), *rows])
        return together.index_select(0, self.places_RL.flatten()).view(
            *self.places_RL.shape, *rows[0].shape[1:]
        )
