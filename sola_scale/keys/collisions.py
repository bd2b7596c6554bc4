"""Collisions at write time: does a new edit's key fall where an old edit fires, and can verification part them?

Shape legend: B pairs of prompts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sola_scale.keys.calibration import Calibration, Keys
from sola_scale.keys.scorer import Bools, Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Collisions:
    """What verification says of B pairs of a new and an old prompt."""

    same_question_B: Floats
    """Probability that both ask one question: at the threshold or above, the new edit supersedes the old one."""
    new_fires_old_B: Floats
    """Probability with which the new prompt would fire the old edit while the new edit lies beside it."""
    old_fires_new_B: Floats
    """Probability with which the old prompt would fire the new edit."""
    threshold: float
    """Where the calibration fires."""

    @property
    def same_B(self) -> Bools:
        """Which pairs ask one question."""
        same: Bools = self.same_question_B >= self.threshold
        return same

    @property
    def parted_B(self) -> Bools:
        """Which pairs may coexist: neither prompt fires the other's edit."""
        parted: Bools = np.maximum(self.new_fires_old_B, self.old_fires_new_B) < self.threshold
        return parted


def examine(calibration: Calibration, new: Keys, old: Keys) -> Collisions:
    """Judge pair by pair: prompt i of ``new``, about to be written, against prompt i of ``old``, in the store."""
    return Collisions(
        same_question_B=calibration.same_question(new, old),
        new_fires_old_B=_fires_other(calibration, new, old),
        old_fires_new_B=_fires_other(calibration, old, new),
        threshold=calibration.threshold,
    )


def _fires_other(calibration: Calibration, query: Keys, other: Keys) -> Floats:
    """Probability that each query fires the other edit, its own edit being the second candidate."""
    apart_B = np.linalg.norm(query.retrieval_BR - other.retrieval_BR, axis=1)
    distances_B2 = np.stack([apart_B, np.zeros_like(apart_B)], axis=1).astype(np.float32)
    candidates_B2M: NDArray[np.float16] = np.stack([other.verification_BM, query.verification_BM], axis=1)
    mask_B2 = np.ones(distances_B2.shape, dtype=np.bool_)
    other_B: Floats = calibration.score_batch(query.verification_BM, candidates_B2M, distances_B2, mask_B2)[
        :, 0
    ]
    return other_B
