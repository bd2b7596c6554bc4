"""The frame codes live in: keys centred and turned at random, so that every symbol of a code carries as much."""

import dataclasses

import numpy as np

from sola_index.contract import Floats

# Shapes: N keys, D dimensions, Z dimensions of the frame.
GROUP = 4
"""Dimensions behind one 4-bit symbol."""

WIDEST = 1024
"""More dimensions than this are projected away: 16-bit sums of more than 256 table entries would overflow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A rotation (or projection) after centring; it never lengthens a distance, so bounds in it hold for full keys."""

    centre_D: Floats
    """Mean of the sample."""
    turn_DZ: Floats
    """Orthonormal columns, padded with zero columns to a multiple of eight."""

    @classmethod
    def fit(cls, sample_ND: Floats, seed: int) -> "Frame":
        """Centre a sample; turn at random within its leading directions.

        Calibrated keys come sorted by variance, which starves the symbols of the first dimensions and widens the
        8-bit tables of the scan to the span of the worst. A random rotation evens that out; on real keys it keeps more
        neighbours than both no rotation and optimised product quantization with eigenvalue allocation (Ge et al. 2013).
        """
        centre_D = sample_ND.mean(0, dtype=np.float64)
        width = min(sample_ND.shape[1], WIDEST)
        turn_DZ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
        if width < sample_ND.shape[1]:
            centred_ND = sample_ND - centre_D
            turn_DZ = np.linalg.eigh(centred_ND.T @ centred_ND)[1][:, -width:] @ turn_DZ
        padded_DZ = np.pad(turn_DZ, ((0, 0), (0, -width % (2 * GROUP))))
        return cls(centre_D.astype(np.float32), np.ascontiguousarray(padded_DZ, np.float32))

    @property
    def width(self) -> int:
        """Dimensions of the frame."""
        return int(self.turn_DZ.shape[1])

    def __call__(self, keys_ND: Floats) -> Floats:
        """Keys in the frame, float32 [N, Z]."""
        return np.asarray((keys_ND - self.centre_D) @ self.turn_DZ, np.float32)
