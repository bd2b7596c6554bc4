"""Routing a trial: retrieve among all edits, verify the few candidates, keep every score.

Shape legend: E edits, Q queries, k candidates, V views, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sola_scale.analysis.cache import ViewCache
from sola_scale.analysis.trial import NOBODY, Pool, Trial
from sola_scale.keys import Calibration, Keys
from sola_scale.keys.blocks import blocks, over_blocks
from sola_scale.keys.problems import CANDIDATES

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Progress = Callable[[str, int, int], None]

_BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolResult:
    """What became of the queries of one pool in a store of one size."""

    pool: Pool
    """The queries."""
    best_Q: Floats
    """Probability of the most probable candidate."""
    right_Q: Bools
    """Whether that candidate is the right edit; False throughout for a pool that nothing answers."""
    first_Q: Bools
    """Whether the nearest key is of the right edit."""
    kept_Q: Bools
    """Whether a right edit is among the candidates."""
    nearest_Q: Floats
    """Distance of the nearest key."""
    own_Q: Floats
    """Distance of the nearest key of a right edit; NaN where there is none."""
    doubted_Q: Bools
    """Whether the cross-encoder read a candidate again, if there is one."""

    def fired(self, threshold: float) -> float:
        """Share of queries that fire what is counted: the right edit, or, where none is right, any."""
        fires_Q = self.best_Q >= threshold
        counted_Q = fires_Q & self.right_Q if self.pool.wanted == "right" else fires_Q
        return float(counted_Q.mean())

    def misfired(self, threshold: float) -> float:
        """Share of queries that fire a wrong edit."""
        return float(((self.best_Q >= threshold) & ~self.right_Q).mean())


class Contest:
    """A calibration in a trial: keys of all edits, retrieval at several store sizes, verification of candidates.

    Retrieval needs the early view of every edit; the later views are taken of queries and candidates alone.
    """

    def __init__(
        self, calibration: Calibration, trial: Trial, early: ViewCache, late: ViewCache, progress: Progress
    ) -> None:
        self.calibration, self.trial = calibration, trial
        self._late, self._progress = late, progress
        self._prompts = trial.prompts
        self._facts = trial.prompt_facts
        self._edit_keys_ER = self._retrieval(early, self._prompts, "early views of the edits")
        self._query_keys = {
            pool.name: self._retrieval(early, pool.texts, f"early views: {pool.name}") for pool in trial.pools
        }

    def nearest_edits(self, size: int, sample: int = 4000) -> Floats:
        """Distance of each of some edits to the nearest other, in a store of the trial's edits and ``size`` more."""
        count = len(self.trial.edits) + size
        keys_ER = self._edit_keys_ER[:count]
        picked = np.random.default_rng(0).permutation(count)[:sample]
        out = np.empty(len(picked), dtype=np.float32)
        for block in blocks(len(picked), _BLOCK):
            cosine_BE = keys_ER[picked[block]] @ keys_ER.T
            cosine_BE[np.arange(len(cosine_BE)), picked[block]] = -1
            out[block] = _distance(cosine_BE.max(axis=1))
        return out

    def run(self, size: int, *, k: int = CANDIDATES) -> list[PoolResult]:
        """Route every pool in a store of the trial's edits and the first ``size`` of the crowd."""
        keys_ER = self._edit_keys_ER[: len(self.trial.edits) + size]
        found = {pool.name: _nearest(self._query_keys[pool.name], keys_ER, k) for pool in self.trial.pools}
        needed = np.unique(np.concatenate([candidates.ravel() for candidates, _ in found.values()]))
        edit_keys = self._keys([self._prompts[edit] for edit in needed], f"views of candidates among {size}")
        return [self._judge(pool, *found[pool.name], needed, edit_keys) for pool in self.trial.pools]

    def _judge(
        self, pool: Pool, candidate_Qk: Ints, distance_Qk: Floats, needed: Ints, edit_keys: Keys
    ) -> PoolResult:
        query_keys = self._keys(pool.texts, f"views: {pool.name}")
        place_Qk = np.searchsorted(needed, candidate_Qk)
        there_Qk = np.ones(place_Qk.shape, dtype=np.bool_)

        def probabilities(calibration: Calibration) -> Floats:
            parts = [
                calibration.score_batch(
                    query_keys.verification_BM[block],
                    edit_keys.verification_BM[place_Qk[block]],
                    distance_Qk[block],
                    there_Qk[block],
                    candidate_Qk[block],
                )
                for block in blocks(len(pool), _BLOCK)
            ]
            return np.concatenate(parts)

        probability_Qk = probabilities(self.calibration)
        right_Qk = (self._facts[candidate_Qk] == pool.facts[:, None]) & (pool.facts[:, None] != NOBODY)
        best_Q = probability_Qk.argmax(axis=1)
        rows = np.arange(len(pool))
        return PoolResult(
            pool=pool,
            best_Q=probability_Qk[rows, best_Q],
            right_Q=right_Qk[rows, best_Q],
            first_Q=right_Qk[:, 0],
            kept_Q=right_Qk.any(axis=1),
            nearest_Q=distance_Qk[:, 0],
            own_Q=np.where(right_Qk, distance_Qk, np.nan).min(axis=1, initial=np.inf, where=right_Qk),
            doubted_Q=_doubted(self.calibration, there_Qk, probabilities),
        )

    def _retrieval(self, early: ViewCache, texts: tuple[str, ...], label: str) -> Floats:
        views_NVD = early.get(texts, lambda done, total: self._progress(label, done, total))
        head = self.calibration.retrieval
        place = early.views.index(self.calibration.views[head.view])
        parts = []
        for block in blocks(len(texts), 4096):
            padded = np.zeros(
                (len(views_NVD[block]), len(self.calibration.views), views_NVD.shape[-1]), np.float32
            )
            padded[:, head.view] = views_NVD[block, place]
            parts.append(head(padded).astype(np.float16))
        # keys lie in the store in float16
        return np.concatenate(parts).astype(np.float32)

    def _keys(self, texts: Sequence[str], label: str) -> Keys:
        views_NVD = self._late.get(texts, lambda done, total: self._progress(label, done, total))
        parts = [
            self.calibration.keys(views_NVD[block].astype(np.float32)) for block in blocks(len(texts), 2048)
        ]
        sizes = self.calibration.retrieval_dim, self.calibration.verification_dim
        return Keys(
            retrieval_BR=np.concatenate(
                [part.retrieval_BR for part in parts] or [np.zeros((0, sizes[0]), np.float32)]
            ),
            verification_BM=np.concatenate(
                [part.verification_BM for part in parts] or [np.zeros((0, sizes[1]), np.float16)]
            ),
        )


def _doubted(
    calibration: Calibration, there_Qk: Bools, probabilities: Callable[[Calibration], Floats]
) -> Bools:
    if calibration.reader is None:
        return np.zeros(len(there_Qk), dtype=np.bool_)
    by_keys_Qk = probabilities(replace(calibration, reader=None)).astype(np.float64)
    with np.errstate(divide="ignore"):
        logit_Qk = (np.log(by_keys_Qk) - np.log1p(-by_keys_Qk)).astype(np.float32)
    doubtful_Qk = calibration.reader.cross.doubtful(logit_Qk, there_Qk)
    doubted_Q: Bools = np.asarray(doubtful_Qk.any(axis=1))
    return doubted_Q


def _nearest(query_QR: Floats, keys_ER: Floats, k: int) -> tuple[Ints, Floats]:
    candidate_Qk = np.empty((len(query_QR), k), dtype=np.int64)
    distance_Qk = np.empty((len(query_QR), k), dtype=np.float32)
    halves_E = 0.5 * (keys_ER**2).sum(axis=1)

    def nearest(block: slice) -> None:
        closeness_BE = query_QR[block] @ keys_ER.T - halves_E
        top_Bk = np.argpartition(-closeness_BE, k - 1, axis=1)[:, :k]
        # rounding to float16 leaves lengths a little off one, and the expanded form cancels: subtract
        apart_Bk = np.linalg.norm(query_QR[block, None] - keys_ER[top_Bk], axis=2)
        order_Bk = np.argsort(apart_Bk, axis=1, kind="stable")
        candidate_Qk[block] = np.take_along_axis(top_Bk, order_Bk, axis=1)
        distance_Qk[block] = np.take_along_axis(apart_Bk, order_Bk, axis=1)

    over_blocks(nearest, len(query_QR), _BLOCK)
    return candidate_Qk, distance_Qk


def _distance(cosine: Floats) -> Floats:
    distance: Floats = np.sqrt(np.maximum(2 - 2 * cosine, 0)).astype(np.float32)
    return distance
