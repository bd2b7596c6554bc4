"""Numbers that a view carries as digits, read back; `sola_scale.backbone.reading` writes them.

Shape legend: P places of a prompt, the last one first.
"""

import numpy as np
from numpy.typing import NDArray

from sola_scale.backbone.reading import DIGIT
from sola_scale.keys.scorer import Ints


def unfold(digits: NDArray[np.floating], each: int) -> Ints:
    """Part a row into its places: ``[..., P, each]``, no more places than the longest prompt uses, and one at least."""
    whole = digits.astype(np.int64).reshape(*digits.shape[:-1], -1, each)
    used = int((whole[..., 0] != 0).reshape(-1, whole.shape[-2]).any(axis=0).sum())
    return whole[..., : max(used, 1), :]


def joined(high: Ints, low: Ints) -> Ints:
    """The number of two digits, of which the high one is counted from 1, with either sign."""
    number: Ints = (np.abs(high) - 1) * DIGIT + low
    return number
