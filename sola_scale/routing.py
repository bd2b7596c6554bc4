"""Routing: from the views of a prompt to an edit, or none.

Shape legend: B prompts, V views, D residual width, K candidates, M numbers in a verification vector.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sola_index import SearchResult
from sola_scale.errors import CorruptRecordError
from sola_scale.keys import Calibration
from sola_scale.keys.problems import CANDIDATES
from sola_scale.live import LiveIndex
from sola_scale.store import Store

Floats = npt.NDArray[np.float32]
KeyIds = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An edit that was considered for a prompt, by its best key."""

    edit_id: int
    """The edit."""
    key_id: int
    """Which of its keys came nearest."""
    distance: float
    """Euclidean distance of the retrieval vectors."""
    probability: float
    """Calibrated probability that the prompt asks what the edit answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The decision for one prompt."""

    edit_id: int | None
    """The edit that fires, or None for the base model."""
    probability: float
    """Probability of the best candidate; 0 if there is none."""
    threshold: float
    """What the probability must reach to fire."""
    margin: float
    """Probability of the best candidate minus that of the next edit's; 0 if there is no candidate."""
    candidates: tuple[Candidate, ...]
    """The edits considered, the most probable first."""


class Router:
    """Retrieve the nearest keys, verify them against one another, fire the best one if it is probable enough."""

    def __init__(
        self,
        calibration: Calibration,
        live: LiveIndex,
        store: Store,
        *,
        version: int,
        on_damage: Callable[[set[int]], None],
        candidates: int = CANDIDATES,
    ) -> None:
        """Route by the keys of ``live``, of which the nearest ``candidates`` are verified.

        Args:
            calibration: views to keys, keys to probabilities.
            live: the index of the keys.
            store: their verification vectors and owners.
            version: the store's number of ``calibration``; once the store has another, nothing is fired here any more.
            on_damage: told of edits whose vectors cannot be read.
            candidates: keys to verify.
        """
        self.calibration = calibration
        self._live = live
        self._store = store
        self._version = version
        self._candidates = candidates
        self._on_damage = on_damage

    def route(self, views_BVD: Floats) -> list[Route]:
        """Decide for a batch of prompts, given their views float32 ``[B, V, D]``."""
        return self.verify(views_BVD, self.retrieve(views_BVD[:, self.calibration.retrieval.view]))

    def retrieve(self, view_BD: Floats) -> SearchResult | None:
        """Find the nearest keys, given the one early view that retrieval reads; None while there are no keys."""
        if not len(self._live.index):
            return None
        shape = (len(view_BD), len(self.calibration.views), view_BD.shape[1])
        retrieval_BR = self.calibration.retrieval(np.broadcast_to(view_BD[:, None], shape))
        return self._live.index.search(retrieval_BR, self._candidates)

    def nearest_edits(self, found: SearchResult) -> list[int]:
        """The edits that own each prompt's nearest key: the likeliest to fire."""
        owners_B = self._store.owners(np.ascontiguousarray(found.ids[:, 0]))
        return [edit_id for edit_id in owners_B.tolist() if edit_id]

    def verify(self, views_BVD: Floats, found: SearchResult | None) -> list[Route]:
        """Weigh what was retrieved, given all views ``[B, V, D]``; the best candidate fires if it is probable enough."""
        verification_BM = self.calibration.keys(views_BVD).verification_BM
        if found is None:
            return [self._decide([]) for _ in range(len(views_BVD))]
        verification_NM, owners_N = self._verification(found.ids.reshape(-1))
        if self._store.calibration != self._version:
            # All keys were exchanged while this batch was under way: what was read may be of either kind.
            return [self._decide([]) for _ in range(len(views_BVD))]
        owners_BK = owners_N.reshape(found.ids.shape)
        probability_BK = self.calibration.score_batch(
            verification_BM,
            verification_NM.reshape(*found.ids.shape, -1),
            found.distances,
            owners_BK != 0,
            owners_BK.astype(np.int64),
        )
        columns = (owners_BK, found.ids, found.distances, probability_BK)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [self._decide(list(zip(*row, strict=True))) for row in rows]

    def _verification(self, key_ids_N: KeyIds) -> tuple[npt.NDArray[np.float16], KeyIds]:
        """Verification vectors and owners of keys; a damaged edit is reported and has owner 0, as if it were gone."""
        try:
            return self._store.verification(key_ids_N)
        except CorruptRecordError:
            each = [self._verification_of(key_ids_N[place : place + 1]) for place in range(len(key_ids_N))]
        rows, owners = zip(*each, strict=True)
        return np.concatenate(rows), np.concatenate(owners)

    def _verification_of(self, key_ids_1: KeyIds) -> tuple[npt.NDArray[np.float16], KeyIds]:
        try:
            return self._store.verification(key_ids_1)
        except CorruptRecordError as error:
            if error.edit_id is not None:
                self._on_damage({error.edit_id})
            return np.zeros((1, self.calibration.verification_dim), np.float16), np.zeros(1, np.uint64)

    def _decide(self, keys: list[tuple[int, int, float, float]]) -> Route:
        """Reduce ``(edit id, key id, distance, probability)`` of the candidate keys to the best of each edit."""
        best: dict[int, Candidate] = {}
        for edit_id, key_id, distance, probability in keys:
            known = best.get(edit_id)
            if edit_id and (known is None or probability > known.probability):
                best[edit_id] = Candidate(
                    edit_id=edit_id, key_id=key_id, distance=distance, probability=probability
                )
        ranked = sorted(best.values(), key=lambda one: (-one.probability, one.edit_id))
        top = ranked[0].probability if ranked else 0.0
        fires = bool(ranked) and top >= self.calibration.threshold
        return Route(
            edit_id=ranked[0].edit_id if fires else None,
            probability=top,
            threshold=self.calibration.threshold,
            margin=top - (ranked[1].probability if len(ranked) > 1 else 0.0),
            candidates=tuple(ranked),
        )
