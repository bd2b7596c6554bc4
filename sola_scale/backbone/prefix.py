"""The frozen part of a training example, computed once: what the layers below an edit make of prompt and target.

Shape legend: B rows, T positions of prompt and target together, P prompt positions, S = T - P + 1 positions an edit can
touch (the last of the prompt and all of the target), D width, H key/value heads, E size of a head, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sola_scale.backbone.caches import RecordingCache
from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.private import PrivateDecoder, StandIn
from sola_scale.backbone.views import View, pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """One prompt with its target, run through the frozen model."""

    position: int
    """Index of the last prompt token, the first position that an edit touches."""
    hidden_SD: Tensor
    """The residual stream entering the first edited layer, at the positions an edit can touch."""
    output_SD: Tensor
    """The base model's state after its final norm, at the same positions."""
    inputs_SI: tuple[Tensor, ...]
    """By edited map, what enters it at the same positions ``[S, d_in]``."""
    cache: dict[int, tuple[Tensor, Tensor]]
    """By layer, keys and values ``[H, P - 1, E]`` of the prompt before its last token."""
    views_VD: Tensor
    """The views of the prompt, float32."""


class PrefixCapture:
    """Runs the base model once over prompts with their targets and keeps what training and routing need of it."""

    def __init__(
        self, backbone: Backbone, paths: Sequence[str], first_layer: int, views: Sequence[View]
    ) -> None:
        """Prepare.

        Args:
            backbone: the base model.
            paths: dotted paths, inside the whole model, of the edited linear maps.
            first_layer: the lowest layer that holds one of them.
            views: which pooled states of the prompt to take in passing.
        """
        self._backbone = backbone
        self._first = first_layer
        self._views = tuple(views)
        private = PrivateDecoder(backbone.model, backbone.architecture)
        self._decoder = private.decoder
        self._inputs = [_Input(private.get(path)) for path in paths]
        for path, tapped in zip(paths, self._inputs, strict=True):
            private.replace(path, tapped)
        self._taps = {
            layer: _Tap(private.layers[layer]) for layer in self._tapped_layers(len(private.layers))
        }
        for layer, tap in self._taps.items():
            private.layers[layer] = tap

    @torch.no_grad()
    def run(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Prefix]:
        """Run one batch of ``(prompt ids, target ids)``: one plain forward pass without the head."""
        ids_BT, mask_BT, prompt_BT = self._pad(sequences)
        cache = RecordingCache(self._first)
        output_BTD = self._decoder(
            input_ids=ids_BT, attention_mask=mask_BT, past_key_values=cache, use_cache=True
        ).last_hidden_state
        entering = {layer: tap.take() for layer, tap in self._taps.items()}
        inputs = [tapped.take() for tapped in self._inputs]
        views_BVD = self._pool(entering, output_BTD, prompt_BT)
        states = _States(entering[self._first], output_BTD, inputs, cache, views_BVD)
        return [states.cut(row, len(prompt), len(target)) for row, (prompt, target) in enumerate(sequences)]

    def _tapped_layers(self, count: int) -> list[int]:
        return sorted({self._first, *(view.layer for view in self._views if view.layer < count)})

    def _pad(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[Tensor, Tensor, Tensor]:
        """Pad on the right: causal attention keeps the padding out of everything that counts."""
        width = max(len(prompt) + len(target) for prompt, target in sequences)
        ids_BT = torch.full((len(sequences), width), int(self._backbone.tokenizer.pad_token_id))
        mask_BT, prompt_BT = torch.zeros_like(ids_BT), torch.zeros_like(ids_BT)
        for row, (prompt, target) in enumerate(sequences):
            together = [*prompt, *target]
            ids_BT[row, : len(together)] = torch.tensor(together)
            mask_BT[row, : len(together)] = 1
            prompt_BT[row, : len(prompt)] = 1
        device = self._backbone.device
        return ids_BT.to(device), mask_BT.to(device), prompt_BT.to(device)

    def _pool(self, entering: dict[int, Tensor], output_BTD: Tensor, prompt_BT: Tensor) -> Tensor:
        if not self._views:
            return output_BTD.new_zeros((output_BTD.shape[0], 0, output_BTD.shape[2]), dtype=torch.float32)
        pooled = [pool(entering.get(view.layer, output_BTD), prompt_BT, view.pooling) for view in self._views]
        return torch.stack(pooled, dim=1)


@dataclass(frozen=True, slots=True)
class _States:
    """What one batch left behind."""

    first_BTD: Tensor
    output_BTD: Tensor
    inputs_BTI: list[Tensor]
    cache: RecordingCache
    views_BVD: Tensor

    def cut(self, row: int, prompt: int, target: int) -> Prefix:
        """Copy one row's share: a view would hold the whole batch in memory."""
        span = slice(prompt - 1, prompt + target)
        return Prefix(
            position=prompt - 1,
            hidden_SD=self.first_BTD[row, span].clone(),
            output_SD=self.output_BTD[row, span].clone(),
            inputs_SI=tuple(inputs[row, span].clone() for inputs in self.inputs_BTI),
            cache={
                layer: (keys[row, :, : prompt - 1].clone(), values[row, :, : prompt - 1].clone())
                for layer, (keys, values) in self.cache.recorded.items()
            },
            views_VD=self.views_BVD[row].clone(),
        )


class _Tap(StandIn):
    """A layer that remembers the hidden states which enter it."""

    _entering: Tensor | None = None

    def forward(self, hidden_BTD: Tensor, *args: object, **kwargs: object) -> object:
        self._entering = hidden_BTD
        return self.layer(hidden_BTD, *args, **kwargs)

    def take(self) -> Tensor:
        """Hand the remembered states over, so that they do not outlive their batch."""
        assert self._entering is not None, "the layer has not run"
        entering, self._entering = self._entering, None
        return entering


class _Input(nn.Module):
    """A linear map that remembers what enters it."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self._entering: Tensor | None = None

    def forward(self, x_BTI: Tensor) -> Tensor:
        self._entering = x_BTI
        out_BTO: Tensor = self.linear(x_BTI)
        return out_BTO

    def take(self) -> Tensor:
        """Hand the remembered inputs over."""
        assert self._entering is not None, "the map has not run"
        entering, self._entering = self._entering, None
        return entering
