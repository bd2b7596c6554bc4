"""How edits come to fire: by route or because the caller names them, and at how many positions they act."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sola_scale.decision import Dispatch, GivenDecision
from sola_scale.errors import EditStateError, RequestError, SolaError
from sola_scale.opening import Parts
from sola_scale.routing import Router
from sola_scale.store import EditStatus, Store

_UNBOUNDED = 1 << 40


class AnswerPositions:
    """At how many positions an edit acts: those of its answer, its end included.

    What a model writes beyond the answer is thus its own again, should it not stop there.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # An edit never changes: what was read of it once is so for ever.
        self._known = functools.lru_cache(maxsize=1 << 16)(self._read)

    def __call__(self, edit_id: int) -> int:
        """Return the number; of an edit that was not trained here, and whose answer nobody counted, more than any text has."""
        return self._known(edit_id)

    def _read(self, edit_id: int) -> int:
        try:
            counted = self._store.record(edit_id).details.get("target_tokens")
        except SolaError:
            return _UNBOUNDED
        return int(counted) if counted else _UNBOUNDED


def dispatch_of(
    parts: Parts, *, on_damage: Callable[[set[int]], None], on_decided: Callable[[int, float], None]
) -> Dispatch:
    """Put together what routes prompts and fires edits of an open store."""
    router = Router(
        parts.calibration, parts.live, parts.store, version=parts.calibration_id, on_damage=on_damage
    )
    return Dispatch(
        router=router,
        pager=parts.pager,
        on_damage=on_damage,
        on_decided=on_decided,
        positions=AnswerPositions(parts.store),
        prefetch=parts.backbone.device.type != "cpu",
    )


def given_decisions(
    dispatch: Dispatch,
    store: Store,
    edits: Sequence[int | None],
    prompts: int,
    options: Mapping[str, Any],
) -> Callable[[slice], GivenDecision]:
    """Return what decides a batch as the caller says; it refuses edits that are not live by then.

    Raises:
        RequestError: there are not as many edits as prompts.
    """
    if len(edits) != prompts:
        raise RequestError(f"{len(edits)} edits were named for {prompts} prompts")
    # The beams of a prompt stand one behind the other.
    beams = options.get("num_beams", 1)

    def decide(batch: slice) -> GivenDecision:
        _check_live(store, edits[batch])
        return GivenDecision(dispatch, [edit_id for edit_id in edits[batch] for _ in range(beams)])

    return decide


def _check_live(store: Store, edits: Iterable[int | None]) -> None:
    """Refuse edits that may not fire.

    Raises:
        UnknownEditError: there is no such edit.
        EditStateError: an edit is not live.
    """
    for edit_id in {one for one in edits if one is not None}:
        status = store.record(edit_id).status
        if status is not EditStatus.LIVE:
            raise EditStateError(f"edit {edit_id} is {status}; only a live edit answers")
