"""The frozen part of a training example, computed once: what the layers below an edit make of prompt and target.

Shape legend: B rows, T positions of prompt and target together, P prompt positions, S = T - P + 1 positions an edit can
touch (the last of the prompt and all of the target), D width, H key/value heads, E size of a head, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sola_scale.backbone.caches import PrefixCache, RecordingCache
from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.private import PrivateDecoder, StandIn, path_of
from sola_scale.backbone.reading import Reading
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
    cache: dict[int, Tensor]
    """By layer, keys and values ``[P - 1, 2, H, E]`` of the prompt before its last token."""
    views_VD: Tensor
    """The views of the prompt, float32, on the host: whoever wants them makes keys of them."""


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
        self._final = len(private.layers)
        if any(view.layer == self._final for view in views):
            path = path_of(backbone.model, backbone.architecture.final_norm)
            self._taps[self._final] = _Tap(private.get(path))
            private.replace(path, self._taps[self._final])

    @torch.no_grad()
    def run(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Prefix]:
        """Run one batch of ``(prompt ids, target ids)``: one plain forward pass without the head."""
        ids_BT, mask_BT, prompt_BT = self._pad(sequences)
        states = self._states(RecordingCache(self._first), ids_BT, mask_BT)
        views_BVD = self._pool(states, ids_BT, prompt_BT)
        return [
            states.cut(row, len(prompt), len(target), self._first, views_BVD[row])
            for row, (prompt, target) in enumerate(sequences)
        ]

    @torch.no_grad()
    def open(self, prompt: Sequence[int]) -> "OpenContext":
        """Run one prompt and keep the keys and values of all its tokens in all layers, for answers to follow it."""
        ids_BT = torch.tensor([list(prompt)], device=self._backbone.device)
        cache = RecordingCache(0)
        states = self._states(cache, ids_BT, torch.ones_like(ids_BT))
        return OpenContext(prefix=states.cut(0, len(prompt), 0, self._first), cache=cache.recorded)

    @torch.no_grad()
    def follow(self, context: "OpenContext", targets: Sequence[Sequence[int]]) -> list[Prefix]:
        """Run several targets after one open context: no more tokens than the targets have."""
        start = context.prefix.position + 1
        ids_BT, mask_BT, _ = self._pad([((), target) for target in targets])
        seen_BT = torch.cat([mask_BT.new_ones((len(targets), start)), mask_BT], dim=1)
        positions_BT = (start + torch.arange(ids_BT.shape[1], device=ids_BT.device)).expand_as(ids_BT)
        shared = {
            layer: (keys.expand(len(targets), -1, -1, -1), values.expand(len(targets), -1, -1, -1))
            for layer, (keys, values) in context.cache.items()
        }
        states = self._states(PrefixCache(shared, start), ids_BT, seen_BT, position_ids=positions_BT)
        return [states.join(context.prefix, row, len(target)) for row, target in enumerate(targets)]

    def _states(
        self, cache: RecordingCache | PrefixCache, ids_BT: Tensor, mask_BT: Tensor, **more: Tensor
    ) -> "_States":
        output_BTD = self._decoder(
            input_ids=ids_BT, attention_mask=mask_BT, past_key_values=cache, use_cache=True, **more
        ).last_hidden_state
        entering = {layer: tap.take() for layer, tap in self._taps.items()}
        inputs = [tapped.take() for tapped in self._inputs]
        recorded = cache.recorded if isinstance(cache, RecordingCache) else {}
        return _States(entering, entering[self._first], output_BTD, inputs, recorded)

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

    def _pool(self, states: "_States", ids_BT: Tensor, prompt_BT: Tensor) -> Tensor:
        output_BTD = states.output_BTD
        if not self._views:
            return torch.zeros((output_BTD.shape[0], 0, output_BTD.shape[2]))
        reading = Reading(self._backbone.spelling, ids_BT, prompt_BT)
        pooled = [pool(states.entering[view.layer], prompt_BT, view.pooling, reading) for view in self._views]
        return torch.stack(pooled, dim=1).cpu()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenContext:
    """A prompt that many answers may follow."""

    prefix: Prefix
    """Its last position, without any answer."""
    cache: dict[int, tuple[Tensor, Tensor]]
    """By layer, keys and values ``[1, H, P, E]`` of the whole prompt."""


@dataclass(frozen=True, slots=True)
class _States:
    """What one forward pass left behind."""

    entering: dict[int, Tensor]
    first_BTD: Tensor
    output_BTD: Tensor
    inputs_BTI: list[Tensor]
    recorded: dict[int, tuple[Tensor, Tensor]]

    def cut(self, row: int, prompt: int, target: int, first: int, views_VD: Tensor | None = None) -> Prefix:
        """Copy one row's share: a view would hold the whole batch in memory."""
        span = slice(prompt - 1, prompt + target)
        return Prefix(
            position=prompt - 1,
            hidden_SD=self.first_BTD[row, span].clone(),
            output_SD=self.output_BTD[row, span].clone(),
            inputs_SI=tuple(inputs[row, span].clone() for inputs in self.inputs_BTI),
            cache={
                layer: torch.stack([one[row, :, : prompt - 1].transpose(0, 1) for one in pair], dim=1)
                for layer, pair in self.recorded.items()
                if layer >= first
            },
            views_VD=torch.zeros((0, 0)) if views_VD is None else views_VD.clone(),
        )

    def join(self, before: Prefix, row: int, target: int) -> Prefix:
        """Put one row's share behind the last position of an open context, whose cache it shares."""
        return Prefix(
            position=before.position,
            hidden_SD=torch.cat([before.hidden_SD, self.first_BTD[row, :target]]),
            output_SD=torch.cat([before.output_SD, self.output_BTD[row, :target]]),
            inputs_SI=tuple(
                torch.cat([own, inputs[row, :target]])
                for own, inputs in zip(before.inputs_SI, self.inputs_BTI, strict=True)
            ),
            cache=before.cache,
            views_VD=before.views_VD,
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
