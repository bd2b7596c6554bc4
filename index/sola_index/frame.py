"""The frame codes live in: keys centred and turned so that a product quantizer spends its bits evenly."""

import dataclasses

import numpy as np

from sola_index.contract import Floats

# Shapes: N keys, D dimensions, Z dimensions of the frame, G groups of dimensions that one code symbol covers.
GROUP = 4
"""Dimensions behind one 4-bit symbol."""

WIDEST = 1024
"""More dimensions than this are projected away: the 16-bit sums of the scan would overflow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A rotation (or projection) after centring; it never lengthens a distance, so bounds in it hold for full keys."""

    centre_D: Floats
    """Mean of the sample."""
    turn_DZ: Floats
    """Orthonormal columns, padded with zero columns to a multiple of eight."""

    @classmethod
    def fit(cls, sample_ND: Floats) -> "Frame":
        """Principal directions dealt to groups so that their variances multiply to the same.

        That is the closed form of optimised product quantization (Ge et al. 2013, section 3.2, eigenvalue allocation).
        """
        centre_D = sample_ND.mean(0, dtype=np.float64)
        centred_ND = sample_ND - centre_D
        variance_Z, directions_DZ = np.linalg.eigh(centred_ND.T @ centred_ND / max(1, len(sample_ND) - 1))
        variance_Z, directions_DZ = variance_Z[::-1][:WIDEST], directions_DZ[:, ::-1][:, :WIDEST]
        padding = -len(variance_Z) % (2 * GROUP)
        variance_Z = np.pad(np.maximum(variance_Z, 0), (0, padding))
        turn_DZ = np.pad(directions_DZ, ((0, 0), (0, padding)))[:, _deal(variance_Z)]
        return cls(centre_D.astype(np.float32), np.ascontiguousarray(turn_DZ, np.float32))

    @property
    def width(self) -> int:
        """Dimensions of the frame."""
        return int(self.turn_DZ.shape[1])

    def __call__(self, keys_ND: Floats) -> Floats:
        """Keys in the frame, float32 [N, Z]."""
        return (keys_ND - self.centre_D) @ self.turn_DZ


def _deal(variance_Z: Floats) -> list[int]:
    """Order of directions, largest variance first, each given to the open group with the smallest product so far."""
    groups: list[list[int]] = [[] for _ in range(len(variance_Z) // GROUP)]
    floor = max(float(variance_Z[0]) * 1e-9, 1e-30)
    gain_Z = np.log(np.maximum(variance_Z, floor)) - np.log(floor) + 1e-6
    weight_G = np.zeros(len(groups))
    for direction, gain in enumerate(gain_Z):
        group = int(weight_G.argmin())
        groups[group].append(direction)
        weight_G[group] = np.inf if len(groups[group]) == GROUP else weight_G[group] + gain
    return [direction for group in groups for direction in group]
