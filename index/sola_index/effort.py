"""How many codes a query of the lists tier looks at: the more, the farther the nearest key it has found so far."""

import math

import numpy as np
import numpy.typing as npt

from sola_index.config import IndexConfig

# Shapes: L lists, nearest first.
FEWEST_LISTS = 8
"""Lists that every query looks into, if there are so many."""

TINY = 1e-20
"""Stands for a code error of zero, which keys that are all alike have."""

FARTHEST = 1e30
"""Stands for the squared distance where no key was found."""


def first_codes(config: IndexConfig, codes: int) -> float:
    """How many of the codes every query looks at."""
    return max(config.first_codes, config.first_share * codes)


def hard_codes(config: IndexConfig, codes: int, nearest_squared: float, error_squared: float) -> float:
    """How many of the codes a hard query looks at, those included.

    Args:
        config: the shares, and the distances between which they grow.
        codes: all there are.
        nearest_squared: squared distance of the nearest key so far.
        error_squared: mean squared distance of a key to its code, the measure of all distances here.
    """
    near, far = config.nearness, config.farness
    errors = math.sqrt(min(nearest_squared, FARTHEST) / max(error_squared, TINY))
    share = min(max(errors - near, 0.0) / (far - near), 1.0) ** 3 * config.most_share
    return max(config.hard_codes, max(share, config.hard_share) * codes)


def lists_holding(upto_L: npt.NDArray[np.int64], codes: float) -> int:
    """How many of the nearest lists hold so many codes, ``upto_L`` being what they hold up to each; the last is taken whole."""
    lists = int(upto_L.searchsorted(codes)) + 1
    return min(max(lists, FEWEST_LISTS), len(upto_L))
