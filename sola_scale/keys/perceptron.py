"""Fitting the small perceptrons; what is kept is their arrays.

Shape legend: N examples, F features, B examples of a step.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sola_scale.errors import CalibrationError
from sola_scale.keys.blocks import beside
from sola_scale.keys.descent import Descent
from sola_scale.keys.scorer import Floats, Perceptron

HIDDEN = (64, 32)
MEMBERS = 3
"""Perceptrons fitted from different starts, of which the mean logit counts: the hardest strangers' scores, which set the
threshold, vary much from one start to the next."""
_BATCH = 2048
_RATE, _DECAY = 2e-3, 1e-4
_STEPS = 1500
"""Optimiser steps at least: few examples are passed over more often."""
_EPOCHS = (6, 200)


def fit_perceptron(
    features_NF: Floats, labels_N: NDArray[np.bool_], *, seed: int, weights_N: Floats | None = None
) -> Perceptron:
    """Fit P(label | features) by weighted log loss, as the mean of `MEMBERS`; equal input and seed give equal arrays.

    Raises:
        CalibrationError: all labels are equal.
    """
    if labels_N.all() or not labels_N.any():
        raise CalibrationError(
            "no paraphrase finds its own question among its neighbours: the views carry nothing"
        )
    mean_F = features_NF.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale_F = (features_NF.std(axis=0, dtype=np.float64) + 1e-4).astype(np.float32)
    examples = (
        torch.from_numpy((features_NF - mean_F) / scale_F),
        torch.from_numpy(labels_N.astype(np.float32)),
        torch.from_numpy(np.ones(len(labels_N), np.float32) if weights_N is None else weights_N),
    )
    seeds = range(seed, seed + MEMBERS)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        networks = [_network(features_NF.shape[1], one) for one in seeds]
    members = list(beside(lambda both: _fit_member(*examples, *both), zip(networks, seeds, strict=True)))
    depth = len(HIDDEN) + 1
    return Perceptron(
        mean_F=mean_F,
        scale_F=scale_F,
        weights=tuple(_beside([member[layer][0] for member in members], layer) for layer in range(depth)),
        biases=tuple(_biases([member[layer][1] for member in members], layer) for layer in range(depth)),
    )


def _beside(weights: list[Floats], layer: int) -> Floats:
    """Put the members' weights side by side: one input for all, no paths between them, the mean at the end."""
    if layer == 0:
        return np.concatenate(weights, axis=1)
    if layer == len(HIDDEN):
        return np.concatenate(weights, axis=0) / np.float32(len(weights))
    rows, columns = weights[0].shape
    blocks = np.zeros((len(weights) * rows, len(weights) * columns), np.float32)
    for member, weight in enumerate(weights):
        blocks[member * rows : (member + 1) * rows, member * columns : (member + 1) * columns] = weight
    return blocks


def _biases(biases: list[Floats], layer: int) -> Floats:
    return np.asarray(np.mean(biases, axis=0) if layer == len(HIDDEN) else np.concatenate(biases), np.float32)


def _fit_member(
    features_NF: Tensor, labels_N: Tensor, weights_N: Tensor, network: nn.Sequential, seed: int
) -> list[tuple[Floats, Floats]]:
    """Adam with a rate that rises and falls once (Smith and Topin 2017); weight and bias by layer."""
    batch = min(_BATCH, len(labels_N))
    per_epoch = -(-len(labels_N) // batch)
    epochs = int(np.clip(-(-_STEPS // per_epoch), *_EPOCHS))
    generator = torch.Generator().manual_seed(seed)
    group = {"params": [*network.parameters()], "lr": _RATE}
    descend = Descent([group], steps=epochs * per_epoch, decay=_DECAY)
    for _ in range(epochs):
        for rows_B in torch.split(torch.randperm(len(labels_N), generator=generator), batch):
            logit_B = network(features_NF[rows_B])[:, 0]
            descend(
                nn.functional.binary_cross_entropy_with_logits(
                    logit_B, labels_N[rows_B], weight=weights_N[rows_B]
                )
            )
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    return [(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in linear]


def _network(features: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    widths = [features, *HIDDEN]
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))
