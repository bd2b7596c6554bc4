"""Training a cross-encoder: adapters on the lower layers, by the log loss of pairs that ask the same or do not.

Shape legend: N texts, P pairs, B pairs of a step, D width of the residual stream, I and O width of a linear map's input and output,
R rank.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import binary_cross_entropy_with_logits

from sola_scale.backbone import Backbone
from sola_scale.backbone.lower import LowerLayers
from sola_scale.errors import CalibrationError
from sola_scale.keys.cross_encoder import Adapter, joined
from sola_scale.keys.descent import Descent
from sola_scale.keys.network import reduced
from sola_scale.keys.scorer import Bools, Floats, Ints

_DOWN_RATE, _UP_RATE, _HEAD_RATE = 6e-4, 1.2e-3, 1e-3
"""Rates of the adapters' two matrices (the second one learns faster: LoRA+, Hayou et al. 2024), and of the head, at `_BATCH` pairs a step;
they go with the root of the batch (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms")."""
_BATCH = 64
_DECAY, _SECOND_BETA, _WARM_UP, _CLIP = 0.01, 0.98, 0.05, 1.0
_SMOOTHING = 0.02
"""Share of labels not taken at their word: some near misses are paraphrases."""
_SORTED = 64
"""Steps' worth of pairs that are sorted by length, so that little is padded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossConfig:
    """How a cross-encoder is made."""

    depth: int = 16
    """Layers that it reads with, of the default model's 30: see docs/design/routing.md."""
    lowest: int = 6
    """The first layer with adapters: those below are left as they are, and nothing need be known of how they change the loss."""
    rank: int = 16
    """Rank of the adapters."""
    pairs: int = 200_000
    """Pairs of a pass at most, each of them once."""
    passes: int = 1
    """Passes, each in an order of its own; of more pairs than are asked for each pass draws anew."""
    batch: int = _BATCH
    """Pairs of a step."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            CalibrationError: nothing could be trained so.
        """
        if not 0 <= self.lowest < self.depth or min(self.rank, self.pairs, self.passes, self.batch) < 1:
            raise CalibrationError(f"no cross-encoder can be trained so: {self}")

    @staticmethod
    def of(layers: int) -> "CrossConfig":
        """The same proportions for a model of so many layers."""
        return CrossConfig(depth=max(1, round(layers * 16 / 30)), lowest=round(layers * 6 / 30))


class LabelledPairs(NamedTuple):
    """What is trained on."""

    left_P: Ints
    right_P: Ints
    """Which texts."""
    label_P: Bools
    """Whether they ask the same."""


class Trained(NamedTuple):
    """What training leaves."""

    adapters: dict[str, Adapter]
    head_D: Floats
    bias: float


def train(
    backbone: Backbone,
    texts_N: Sequence[Sequence[int]],
    pairs: LabelledPairs,
    *,
    separator: int,
    config: CrossConfig,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Pass over the pairs; ``texts_N`` are the texts' tokens, ``progress(done, all)`` is told.

    Raises:
        ModelError: the model has too few layers, or no linear map of a known name.
    """
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        network = _Network(backbone, config)
        rng = np.random.default_rng(seed)
        steps = list(_steps(texts_N, pairs, config, rng))
        descend = Descent(
            network.groups(),
            steps=len(steps),
            decay=_DECAY,
            second_beta=_SECOND_BETA,
            warm_up=_WARM_UP,
            clip=_CLIP,
        )
        for done, step_B in enumerate(steps):
            left_B, right_B = pairs.left_P[step_B], pairs.right_P[step_B]
            if rng.random() < 0.5:
                left_B, right_B = right_B, left_B
            sequences = [
                joined(texts_N[one], texts_N[other], separator)
                for one, other in zip(left_B, right_B, strict=True)
            ]
            descend(network.loss(sequences, torch.from_numpy(pairs.label_P[step_B])))
            if progress is not None:
                progress(done + 1, len(steps))
    return network.trained()


def _steps(
    texts_N: Sequence[Sequence[int]], pairs: LabelledPairs, config: CrossConfig, rng: np.random.Generator
) -> Iterator[Ints]:
    """Pairs of one step after the other, in random order, those of one step about equally long."""
    length_N = np.array([len(text) for text in texts_N])
    length_P = length_N[pairs.left_P] + length_N[pairs.right_P]
    chunk = _SORTED * config.batch
    for _ in range(config.passes):
        order_P = rng.permutation(len(length_P))[: config.pairs]
        for start in range(0, len(order_P), chunk):
            some = order_P[start : start + chunk]
            some = some[np.argsort(length_P[some], kind="stable")]
            steps = [some[place : place + config.batch] for place in range(0, len(some), config.batch)]
            for place in rng.permutation(len(steps)):
                yield steps[place]


class _Network:
    """The trainable form."""

    def __init__(self, backbone: Backbone, config: CrossConfig) -> None:
        self._pace = (config.batch / _BATCH) ** 0.5
        self._lower = LowerLayers(backbone, config.depth)
        self._maps = {
            path: self._lower.adapt(path, _spread(config.rank, d_in), torch.zeros(d_out, config.rank))
            for path, (d_in, d_out) in self._lower.adaptable(config.lowest).items()
        }
        self._head = nn.Linear(backbone.architecture.width, 1, device=backbone.device)
        nn.init.zeros_(self._head.weight)
        nn.init.zeros_(self._head.bias)

    def groups(self) -> list[dict[str, Any]]:
        """What is trained, at which rate."""
        return [
            {"params": [one.down_RI for one in self._maps.values()], "lr": _DOWN_RATE * self._pace},
            {"params": [one.up_OR for one in self._maps.values()], "lr": _UP_RATE * self._pace},
            {"params": list(self._head.parameters()), "lr": _HEAD_RATE * self._pace},
        ]

    def loss(self, sequences: Sequence[Sequence[int]], label_B: Tensor) -> Tensor:
        """Mean log loss of a step."""
        with reduced(self._lower.device.type), self._attention():
            states_BD = self._lower.last_states(sequences)
        logit_B = self._head(states_BD.to(self._lower.device))[:, 0]
        smoothed_B = label_B.to(logit_B) * (1 - 2 * _SMOOTHING) + _SMOOTHING
        return binary_cross_entropy_with_logits(logit_B, smoothed_B)

    def _attention(self) -> AbstractContextManager[None]:
        # the gradient of flash attention took a fifth of a step on a CPU: for sequences so short plain products are four times as fast
        on_cpu = self._lower.device.type == "cpu"
        return sdpa_kernel(SDPBackend.MATH) if on_cpu else nullcontext()

    def trained(self) -> Trained:
        """The plain arrays."""
        adapters = {path: Adapter(_half(one.down_RI), _half(one.up_OR)) for path, one in self._maps.items()}
        weight_1D, bias_1 = self._head.weight.detach().cpu(), self._head.bias.detach().cpu()
        return Trained(adapters, weight_1D[0].numpy(), float(bias_1[0]))


def _spread(rank: int, width: int) -> Tensor:
    """A first matrix as LoRA starts it: the second one is zero, so that the model begins as it is."""
    return nn.init.kaiming_uniform_(torch.empty(rank, width), a=5**0.5)


def _half(matrix: Tensor) -> NDArray[np.float16]:
    return matrix.detach().cpu().to(torch.float16).numpy()
