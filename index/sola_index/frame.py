"""The frame codes live in: keys centred, their dimensions dealt out so that every symbol of a code carries as much."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from sola_index.contract import Floats, Rows

# Shapes: N keys, D dimensions, W dimensions kept, Z dimensions of the frame, G symbols, R rounds of dealing.
GROUP = 4
"""Dimensions behind one 4-bit symbol."""

ENOUGH = 16_384
"""Rows of a sample that tell mean and covariance well enough."""

WIDEST = 1024
"""More dimensions than this are projected away: 16-bit sums of more than 256 table entries would overflow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A permutation (after a projection of very wide keys) of centred keys; it never lengthens a distance.

    Bounds that hold in the frame therefore hold for full keys.
    """

    centre_D: Floats
    """Mean of the sample."""
    source_Z: Rows
    """The dimension that comes to each place of the frame; numbers beyond the last dimension stand for zeros."""
    leading_DW: Floats | None = None
    """Orthonormal columns that keys are projected to first; None where all dimensions are kept."""

    @classmethod
    def fit(cls, sample_ND: Floats) -> "Frame":
        """Centre a sample and deal its dimensions out.

        Calibrated keys come sorted by variance, which starves the symbols of the last dimensions and widens the
        8-bit tables of the scan to the span of the first. Dealing them out evens that and costs nothing at search
        time; on real keys its codes are nearer to the keys than after a random rotation (``docs/design/key-index.md``).
        """
        sample_ND = sample_ND[:: -(-len(sample_ND) // ENOUGH)]
        centre_D = sample_ND.mean(0, dtype=np.float64).astype(np.float32)
        width = min(sample_ND.shape[1], WIDEST)
        leading_DW = None
        if width < sample_ND.shape[1]:
            centred_ND = sample_ND - centre_D
            leading_DW = np.ascontiguousarray(np.linalg.eigh(centred_ND.T @ centred_ND)[1][:, -width:])
            sample_ND = centred_ND @ leading_DW
        return cls(centre_D, deal(sample_ND.var(0, dtype=np.float64)), leading_DW)

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `restore` makes the frame from again."""
        leading = {} if self.leading_DW is None else {"leading": self.leading_DW}
        return {"centre": self.centre_D, "sources": self.source_Z, **leading}

    @classmethod
    def restore(cls, dim: int, arrays: dict[str, npt.NDArray[Any]]) -> "Frame":
        """The frame that gave these arrays."""
        leading = arrays.get("leading")
        leading_DW = None if leading is None else np.array(leading).reshape(dim, -1)
        return cls(np.array(arrays["centre"]), np.array(arrays["sources"]), leading_DW)

    @property
    def width(self) -> int:
        """Dimensions of the frame: a multiple of eight."""
        return len(self.source_Z)

    def __call__(self, keys_ND: Floats) -> Floats:
        """Keys in the frame, float32 [N, Z]."""
        kept_NW = keys_ND - self.centre_D
        if self.leading_DW is not None:
            kept_NW = kept_NW @ self.leading_DW
        missing = self.width - kept_NW.shape[1]
        if missing:
            kept_NW = np.pad(kept_NW, ((0, 0), (0, missing)))
        return kept_NW.take(self.source_Z, axis=1)


def deal(variance_W: Floats) -> Rows:
    """The dimension that comes to each place, so that every symbol gets as many strong ones as weak ones.

    The dimensions are dealt to the symbols from the strongest to the weakest, to and fro: the first symbol gets the
    first and the last of every two rounds. Zeros that make the number of symbols even are the weakest of all.
    """
    width = len(variance_W) + -len(variance_W) % (2 * GROUP)
    strongest_Z = np.append(np.argsort(-variance_W, kind="stable"), np.arange(len(variance_W), width))
    dealt_RG = strongest_Z.reshape(GROUP, width // GROUP)
    dealt_RG[1::2] = dealt_RG[1::2, ::-1]
    return np.ascontiguousarray(dealt_RG.T.reshape(-1), np.int64)
