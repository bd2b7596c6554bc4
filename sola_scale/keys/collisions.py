"""Collisions at write time: does a new edit's key fall where an old edit fires, and can verification part them?

Shape legend: B prompts or pairs of them, N keys, k candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sola_scale.keys.calibration import Calibration, Keys
from sola_scale.keys.problems import CANDIDATES
from sola_scale.keys.scorer import Bools, Floats, Ints

_PAIRS = 64
"""Pairs of wordings that two edits are told apart by, at most: somebody may give hundreds."""


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


def told_apart(calibration: Calibration, new: Keys, old: Keys) -> bool:
    """Whether for no wording of either edit the other one reaches the threshold, its own lying beside it.

    Of the wordings, given by their keys, the 64 nearest pairs are judged. Where distance alone judges, edits that collide are never told apart.
    """
    apart_NO = _apart(new, old)
    nearest_B = np.argsort(apart_NO, axis=None, kind="stable")[:_PAIRS]
    left_B, right_B = np.unravel_index(nearest_B, apart_NO.shape)
    left, right = _rows(new, left_B), _rows(old, right_B)
    return all(
        bool((_fires_other(calibration, one, other) < calibration.threshold).all())
        for one, other in ((left, right), (right, left))
    )


def fires_earlier(calibration: Calibration, wordings: Keys, owner_N: Ints) -> Bools:
    """Which of B prompts would fire the edit of one before it, were all of these live.

    Args:
        calibration: what judges.
        wordings: keys of all N wordings, those of one edit together, its prompt first.
        owner_N: whose wording each is, 0 to B - 1, ascending: the order in which the edits are written.
    """
    prompts = _rows(wordings, np.unique(owner_N, return_index=True)[1])
    apart_BN = _apart(prompts, wordings)
    before_BN = owner_N < np.arange(len(prompts))[:, None]
    nearest_Bk = np.argsort(np.where(before_BN, apart_BN, np.inf), axis=1, kind="stable")[:, :CANDIDATES]
    probability_Bk = calibration.score_batch(
        prompts.verification_BM,
        wordings.verification_BM[nearest_Bk],
        np.take_along_axis(apart_BN, nearest_Bk, axis=1),
        np.take_along_axis(before_BN, nearest_Bk, axis=1),
        owner_N[nearest_Bk],
    )
    fires_B: Bools = np.asarray((probability_Bk >= calibration.threshold).any(axis=1))
    return fires_B


def _rows(keys: Keys, places: Ints) -> Keys:
    return Keys(retrieval_BR=keys.retrieval_BR[places], verification_BM=keys.verification_BM[places])


def _apart(left: Keys, right: Keys) -> Floats:
    """Euclidean distance of every retrieval vector of the left to every one of the right."""
    rows = [np.linalg.norm(right.retrieval_BR - one_R, axis=1) for one_R in left.retrieval_BR]
    return np.stack(rows).astype(np.float32)


def _fires_other(calibration: Calibration, query: Keys, other: Keys) -> Floats:
    """Probability that each query fires the other edit, its own edit being the second candidate."""
    apart_B = np.linalg.norm(query.retrieval_BR - other.retrieval_BR, axis=1)
    distances_B2 = np.stack([apart_B, np.zeros_like(apart_B)], axis=1).astype(np.float32)
    candidates_B2M: NDArray[np.float16] = np.stack([other.verification_BM, query.verification_BM], axis=1)
    mask_B2 = np.ones(distances_B2.shape, dtype=np.bool_)
    # the query's own edit is sure to fire: what is asked is how near the other one comes
    probability_B2 = calibration.score_batch(
        query.verification_BM, candidates_B2M, distances_B2, mask_B2, whole=True
    )
    other_B: Floats = probability_B2[:, 0]
    return other_B
