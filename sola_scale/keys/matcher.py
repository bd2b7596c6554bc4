"""A matcher: encodes prompts, and says of two of them whether they ask the same.

Shape legend: Z encoding, G given similarities, F features.
"""

from dataclasses import dataclass

import numpy as np

from sola_scale.keys.encoder import Encoder
from sola_scale.keys.scorer import Floats, Perceptron


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matcher:
    """An encoder and the scorer that was fitted together with it."""

    encoder: Encoder
    """Views to an encoding."""
    pair: Perceptron
    """What is given of two prompts, and their encodings compared, to the logit of "they ask the same question"."""

    def logits(self, given: Floats, compared: Floats) -> Floats:
        """Logit that prompts ask the same: ``[..., G]`` given, and their encodings compared, which broadcast to each other."""
        shape = np.broadcast_shapes(given.shape[:-1], compared.shape[:-1])
        parts = [np.broadcast_to(part, (*shape, part.shape[-1])) for part in (given, compared)]
        return self.pair(np.concatenate(parts, axis=-1))


def cosines(left: Floats, right: Floats) -> Floats:
    """Cosine of encodings whose shapes broadcast, ``[...]``."""
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    cosine: Floats = (left * right).sum(axis=-1) / np.maximum(lengths, np.float32(1e-6))
    return cosine


def compare(left: Floats, right: Floats) -> Floats:
    """Cosine, distances and products, number by number: ``[..., 2Z + 1]`` from encodings whose shapes broadcast."""
    features: Floats = np.concatenate(
        [cosines(left, right)[..., None], np.abs(left - right), left * right], axis=-1
    )
    return features
