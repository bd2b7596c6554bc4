"""Two key/value caches of one purpose: one takes a prompt's keys and values out of a forward pass, one gives them back.

Shape legend: B rows, H key/value heads, P cached positions, S positions of a step, E size of a head.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache


class RecordingCache(Cache):  # type: ignore[misc]  # transformers carries no types
    """Keeps what the layers from ``first`` on compute; attention sees this pass alone."""

    def __init__(self, first: int) -> None:
        super().__init__(layers=[])
        self._first = first
        self.recorded: dict[int, tuple[Tensor, Tensor]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Remember the keys and values ``[B, H, T, E]`` of one layer."""
        if layer_idx >= self._first:
            self.recorded[layer_idx] = (key_states, value_states)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: nothing came before."""
        del layer_idx
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the length and offset of the keys that a query sees."""
        del layer_idx
        return query_length, 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return the position of the first query."""
        del layer_idx
        return 0


class PrefixCache(Cache):  # type: ignore[misc]  # transformers carries no types
    """Gives every step the same cached prefix and forgets the step's own keys; gradients flow through the latter."""

    def __init__(self, prefixes: dict[int, tuple[Tensor, Tensor]], length: int) -> None:
        super().__init__(layers=[])
        self._prefixes = prefixes
        self._length = length

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Put the prefix ``[B, H, P, E]`` of the layer before the step's ``[B, H, S, E]``."""
        key_BHPE, value_BHPE = self._prefixes[layer_idx]
        return torch.cat([key_BHPE, key_states], dim=2), torch.cat([value_BHPE, value_states], dim=2)

    def select(self, rows_R: Tensor) -> "PrefixCache":
        """Return the prefixes of some of the rows."""
        chosen = {layer: (keys[rows_R], values[rows_R]) for layer, (keys, values) in self._prefixes.items()}
        return PrefixCache(chosen, self._length)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the length of the prefix, the same in every layer."""
        del layer_idx
        return self._length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return the length and offset of the keys that a query sees."""
        del layer_idx
        return self._length + query_length, 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return the position of the first query."""
        del layer_idx
        return self._length
