"""Fitting the small perceptrons with scikit-learn; what is kept is their arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import CalibrationError
from sola_scale.keys.scorer import Floats, Perceptron

HIDDEN = (64, 32)
MEMBERS = 3
"""Perceptrons fitted from different starts, of which the mean logit counts: the hardest strangers' scores, which set the
threshold, vary much from one start to the next."""
_BATCH = 256
_STEPS = 2500
"""Optimiser steps at least: few examples are passed over more often."""
_EPOCHS = (12, 200)


def fit_perceptron(features_NF: Floats, labels_N: NDArray[np.bool_], *, seed: int) -> Perceptron:
    """Fit P(label | features) by log loss, as the mean of `MEMBERS`; equal input and seed give equal arrays.

    Raises:
        CalibrationError: all labels are equal.
    """
    if labels_N.all() or not labels_N.any():
        raise CalibrationError(
            "no paraphrase finds its own question among its neighbours: the views carry nothing"
        )
    mean_F = features_NF.mean(axis=0, dtype=np.float64)
    scale_F = features_NF.std(axis=0, dtype=np.float64) + 1e-6
    standard_NF = (features_NF - mean_F) / scale_F
    models = [_fit_member(standard_NF, labels_N, seed=seed + member) for member in range(MEMBERS)]
    depth = len(HIDDEN) + 1
    return Perceptron(
        mean_F=mean_F.astype(np.float32),
        scale_F=scale_F.astype(np.float32),
        weights=tuple(_beside([model.coefs_[layer] for model in models], layer) for layer in range(depth)),
        biases=tuple(
            _biases([model.intercepts_[layer] for model in models], layer) for layer in range(depth)
        ),
    )


def _beside(weights: list[NDArray[Any]], layer: int) -> Floats:
    """Put the members' weights side by side: one input for all, no paths between them, the mean at the end."""
    if layer == 0:
        return np.concatenate(weights, axis=1).astype(np.float32)
    if layer == len(HIDDEN):
        return np.concatenate(weights, axis=0).astype(np.float32) / np.float32(len(weights))
    rows, columns = weights[0].shape
    blocks = np.zeros((len(weights) * rows, len(weights) * columns), np.float32)
    for member, weight in enumerate(weights):
        blocks[member * rows : (member + 1) * rows, member * columns : (member + 1) * columns] = weight
    return blocks


def _biases(biases: list[NDArray[Any]], layer: int) -> Floats:
    together = np.mean(biases, axis=0) if layer == len(HIDDEN) else np.concatenate(biases)
    return np.asarray(together, np.float32)


def _fit_member(features_NF: NDArray[np.floating], labels_N: NDArray[np.bool_], *, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    batch = min(_BATCH, len(features_NF))
    epochs = int(np.clip(-(-_STEPS * batch // len(features_NF)), *_EPOCHS))
    model: Any = MLPClassifier(
        hidden_layer_sizes=HIDDEN,
        alpha=1e-4,
        batch_size=batch,
        max_iter=epochs,
        n_iter_no_change=epochs,
        tol=0.0,
        random_state=seed,
    )
    _fit_quietly(model, features_NF, labels_N)
    return model


def _fit_quietly(model: Any, features_NF: NDArray[np.floating], labels_N: NDArray[np.bool_]) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # Products of 256 by 64 are too small to share: with more threads they wait for one another, ten times as long.
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        # a fixed number of epochs is the stopping rule, reached every time
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features_NF.astype(np.float32), labels_N)
