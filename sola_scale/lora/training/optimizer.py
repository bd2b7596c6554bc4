"""One optimizer over many independent edits: each has its own step count, its own scale and its own gradient clipping.

Shape legend: N slots, r rank, I inputs and O outputs of a linear map.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sola_scale.lora.training.config import TrainingConfig

_BETAS = (0.9, 0.999)
_TINY = 1e-12


class StackedOptimizer:
    """Adam (Kingma and Ba, 2015) or SGD with cosine decay over stacked parameters ``[N, r, width]``.

    Adam works in scale-free units: a step changes each number by about ``learning_rate`` times its slot's scale,
    whatever the size of a model's hidden states.
    """

    def __init__(self, parameters: Sequence[Tensor], config: TrainingConfig) -> None:
        self._parameters = tuple(parameters)
        self._config = config
        self._first = [torch.zeros_like(one) for one in self._parameters]
        self._second = [torch.zeros_like(one) for one in self._parameters]
        self._scales = [one.new_ones(one.shape[0]) for one in self._parameters]
        self._steps_N = self._parameters[0].new_zeros(self._parameters[0].shape[0])

    def reset(self, slot: int, scales: Sequence[float]) -> None:
        """Forget what a slot's former edit left; ``scales``: typical size of a number, by parameter."""
        self._steps_N[slot] = 0
        for first, second, own, scale in zip(self._first, self._second, self._scales, scales, strict=True):
            first[slot] = second[slot] = 0
            own[slot] = scale

    @torch.no_grad()
    def step(self) -> None:
        """Take one step in every slot and clear the gradients."""
        self._steps_N += 1
        grads = [one.grad if one.grad is not None else torch.zeros_like(one) for one in self._parameters]
        clip_N = self._clip(grads)
        for which, (parameter, grad) in enumerate(zip(self._parameters, grads, strict=True)):
            self._update(which, parameter, grad * _wide(clip_N))
            parameter.grad = None

    def _clip(self, grads: Sequence[Tensor]) -> Tensor:
        if self._config.optimizer == "adam":
            # In units of the slots' scales, so that a model's size does not decide what counts as steep.
            grads = [grad * _wide(scale) for grad, scale in zip(grads, self._scales, strict=True)]
        norms_N = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)
        factors_N: Tensor = (self._config.clip / norms_N.clamp(min=_TINY)).clamp(max=1.0)
        return factors_N

    def _update(self, which: int, parameter: Tensor, grad: Tensor) -> None:
        if self._config.optimizer == "sgd":
            progress_N = (self._steps_N - 1) / self._config.max_steps
            rate_N = self._config.learning_rate * 0.5 * (1 + torch.cos(math.pi * progress_N.clamp(max=1.0)))
            parameter -= grad * _wide(rate_N)
            return
        first, second = self._first[which], self._second[which]
        first.lerp_(grad, 1 - _BETAS[0])
        second.lerp_(grad.square(), 1 - _BETAS[1])
        unbiased = first / _wide(1 - _BETAS[0] ** self._steps_N)
        spread = (second / _wide(1 - _BETAS[1] ** self._steps_N)).sqrt()
        parameter -= _wide(self._config.learning_rate * self._scales[which]) * unbiased / (spread + _TINY)


def _wide(values_N: Tensor) -> Tensor:
    return values_N.view(-1, 1, 1)
