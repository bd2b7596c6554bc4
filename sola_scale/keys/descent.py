"""Gradient descent, as all fits of keys do it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sola_scale.keys.blocks import carry_on


class Descent:
    """AdamW with a rate that rises and falls once (Smith and Topin 2018); call it with the loss of each step."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        steps: int,
        decay: float,
        second_beta: float = 0.999,
        warm_up: float = 0.1,
        clip: float | None = None,
    ) -> None:
        """``groups`` have ``params`` and their highest rate ``lr``; gradients are cut to the norm ``clip``.

        AdamW's first beta is the schedule's: it falls while the rate rises.
        """
        self._optimizer = torch.optim.AdamW(groups, weight_decay=decay, betas=(0.9, second_beta))
        self._parameters = [one for group in self._optimizer.param_groups for one in group["params"]]
        rates = [group["lr"] for group in self._optimizer.param_groups]
        if steps * warm_up == 1:
            warm_up *= 1 + 1e-9  # the schedule divides by the length of its rise, less one
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, rates, total_steps=steps, pct_start=warm_up
        )
        self._clip = clip

    def __call__(self, loss: Tensor) -> None:
        """One step down.

        Raises:
            CancelledError: in a worker whose results nobody wants any more.
        """
        carry_on()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()
        self._schedule.step()
