"""Collisions: what new prompts fire that is live already, and what they would fire of one another.

Shape legend: K wordings of an edit, its prompt first, V views, D residual width, B prompts, N wordings of all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sola_scale.errors import CorruptRecordError, EditStateError, UnknownEditError
from sola_scale.keys import Calibration, Keys, fires_earlier, told_apart
from sola_scale.routing import Route
from sola_scale.store import Store

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collision:
    """What a new prompt met."""

    edit_id: int
    """The live edit that it fires."""
    told_apart: bool | None
    """Whether verification tells the two edits apart, each lying beside the other; None if the older one cannot be read any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollisionCheck:
    """Finds collisions before anything is written."""

    store: Store
    """Where the live edits are."""
    calibration: Calibration
    """What judges."""
    version: int
    """The store's number of it."""
    locate: Callable[[Floats], Sequence[Route]]
    """Routes prompts among the live edits, given their views ``[B, V, D]``."""

    def waiting(self, edits: Sequence[Floats]) -> npt.NDArray[np.bool_]:
        """Which of some new edits, given by the views ``[K, V, D]`` of their wordings, would fire one before them, were it live."""
        if len(edits) < 2:
            return np.zeros(len(edits), dtype=np.bool_)
        owner_N = np.repeat(np.arange(len(edits)), [len(views_KVD) for views_KVD in edits])
        return fires_earlier(self.calibration, self.calibration.keys(np.concatenate(edits)), owner_N)

    def met(self, edits: Sequence[Floats], replaced: Sequence[int | None]) -> list[Collision | None]:
        """What each new edit's prompt fires; what it is to replace anyhow is no collision."""
        routes = self.locate(np.stack([views_KVD[0] for views_KVD in edits])) if edits else []
        return [
            None
            if route.edit_id in (None, known)
            else Collision(edit_id=route.edit_id, told_apart=self._told_apart(views_KVD, route.edit_id))
            for route, views_KVD, known in zip(routes, edits, replaced, strict=True)
        ]

    def _told_apart(self, views_KVD: Floats, edit_id: int) -> bool | None:
        try:
            rows = self.store.keys(edit_id)
        except (UnknownEditError, EditStateError, CorruptRecordError):
            return None
        if self.store.calibration != self.version:
            return None  # all keys were exchanged meanwhile: what was read may be of either kind
        old = Keys(retrieval_BR=rows.retrieval.astype(np.float32), verification_BM=rows.verification)
        return told_apart(self.calibration, self.calibration.keys(views_KVD), old)
