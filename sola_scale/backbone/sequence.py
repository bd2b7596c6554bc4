"""One forward call, and the sequence batch it belongs to: which rows, which positions, which route.

Shape legend: B rows of the batch, T token positions of this call, F rows that fired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sola_scale.backbone.reading import Reading
from sola_scale.backbone.views import last_positions
from sola_scale.errors import ModelError

if TYPE_CHECKING:
    from sola_scale.backbone.taps import Action, Decision


@dataclass(slots=True)
class PinnedSequence:
    """What was decided for a batch of prompts; it stays with them for all their decode steps."""

    action: Action | None
    """What fires, or none."""
    act_from_B: Tensor
    """Absolute position, per row, of the last prompt token: an edit acts from there on."""
    decision: Decision
    """The decision, concluded."""

    @classmethod
    def begin(cls, call: ForwardCall, decision: Decision) -> PinnedSequence:
        """Conclude ``decision`` and pin its action to the prompts that ``call`` carries."""
        return cls(decision.conclude(), call.past + last_positions(call.mask_BT), decision)


@dataclass(slots=True)
class ForwardCall:
    """One call of the model's forward, while it runs."""

    mask_BT: Tensor
    """Which of this call's positions hold real tokens."""
    past: int
    """How many positions the key-value cache held before this call."""
    cache: Any
    """The key-value cache, if the caller brought one."""
    ids_BT: Tensor | None = None
    """The tokens; None if they came as embeddings."""
    reading: Reading | None = None
    """Its tokens read as words, once a view has asked for them."""
    prefill: bool = True
    """Whether this call carries the prompts themselves."""
    decision: Decision | None = None
    """The decision under way, in a prefill, until it concludes."""
    sequence: PinnedSequence | None = None
    """The sequence batch, once decided."""

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any], prompt_mask_BT: Tensor | None) -> ForwardCall:
        """Read the call from the arguments of ``forward``; masks that are not 2-D give way to ``prompt_mask_BT``."""
        tokens = kwargs.get("input_ids", args[0] if args else None)
        ids_BT = tokens
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        rows, length = tokens.shape[0], tokens.shape[1]
        cache = kwargs.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        mask = kwargs.get("attention_mask")
        mask = mask if isinstance(mask, Tensor) and mask.dim() == 2 else prompt_mask_BT
        return cls(_fit(mask, rows, length, tokens.device), past, cache, ids_BT)

    def resume(self, sequence: PinnedSequence) -> None:
        """Make this call a decode step of ``sequence``.

        Raises:
            ModelError: the batch has another size than the prompts had.
        """
        if len(sequence.act_from_B) != len(self.mask_BT):
            raise ModelError(
                f"the batch changed from {len(sequence.act_from_B)} to {len(self.mask_BT)} rows while decoding; "
                "routes are pinned to rows"
            )
        self.prefill = False
        self.sequence = sequence

    def prompt_columns(self, rows_F: Tensor) -> Tensor:
        """Return, in a prefill, the column of each row's last prompt token ``[F]``: the only one an edit touches."""
        assert self.sequence is not None
        return self.sequence.act_from_B[rows_F] - self.past

    def reach(self, rows_F: Tensor, positions_F: Tensor | None = None) -> Tensor | None:
        """Which positions of a decode step an edit touches ``[F, T]``; None means all of them.

        Decoding without a cache passes the prompt again at each step: the positions before its end are out of reach. So
        are, for an edit that acts at no more than ``positions_F`` positions, all that follow them.
        """
        assert self.sequence is not None
        if self.past > 0 and positions_F is None:
            return None
        columns_T = self.past + torch.arange(self.mask_BT.shape[1], device=rows_F.device)
        since_FT = columns_T - self.sequence.act_from_B[rows_F].unsqueeze(1)
        reached_FT = since_FT >= 0
        return reached_FT if positions_F is None else reached_FT & (since_FT < positions_F.unsqueeze(1))


def _fit(mask: Tensor | None, rows: int, length: int, device: torch.device) -> Tensor:
    """Return the mask of this call's positions: its last ``length`` columns, its rows repeated as beams repeat them."""
    if mask is None or mask.shape[1] < length or rows % mask.shape[0]:
        return torch.ones(rows, length, dtype=torch.bool, device=device)
    window = mask[:, -length:].to(device=device, dtype=torch.bool)
    return window if len(window) == rows else window.repeat_interleave(rows // len(window), dim=0)
