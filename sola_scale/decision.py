"""One routing decision inside a forward pass: views in, adapters out.

Shape legend: B prompts, V views, D residual width.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sola_index import SearchResult
from sola_scale.backbone import Action, View
from sola_scale.errors import StoreError
from sola_scale.lora.fired import FiredAdapters
from sola_scale.lora.pager import Pager
from sola_scale.routing import Route, Router


@dataclass(slots=True)
class Dispatch:
    """What turns routes into adapters, shared by all calls of one editor."""

    router: Router
    """Decides."""
    pager: Pager
    """Brings the weights."""
    on_damage: Callable[[set[int]], None]
    """Told of edits that were to fire but whose weights could not be had."""
    on_decided: Callable[[int, float], None]
    """Told how many prompts were routed, and in how many seconds."""
    positions: Callable[[int], int]
    """Says at how many positions an edit acts: those of its answer."""
    prefetch: bool = False
    """Page the likeliest edits in as soon as they are retrieved: pays where copies run beside the layers."""

    def fetch(self, fired: Sequence[tuple[int, int]]) -> tuple[FiredAdapters | None, set[int]]:
        """Bring the adapters for ``(row, edit id)`` pairs, each bound to its answer; and the ids that could not be had."""
        adapters, lost = self.pager.fetch(fired)
        if adapters is not None:
            adapters.bound({row: self.positions(edit_id) for row, edit_id in fired})
        return adapters, lost

    def begin(self) -> "RoutingDecision":
        """Start the decision of one batch."""
        return RoutingDecision(self)


class GivenDecision:
    """A decision that somebody else made: which edit answers which prompt."""

    views: tuple[View, ...] = ()

    def __init__(self, dispatch: Dispatch, edits_B: Sequence[int | None]) -> None:
        self._dispatch = dispatch
        self._edits_B = edits_B

    def observe(self, view: View, pooled_BD: Tensor) -> None:
        """Nothing is asked of the prompts."""

    def conclude(self) -> Action | None:
        """Fetch what fires.

        Raises:
            StoreError: the weights of an edit cannot be had, so that it could not answer.
        """
        fired = [(row, edit_id) for row, edit_id in enumerate(self._edits_B) if edit_id is not None]
        if not fired:
            return None
        adapters, lost = self._dispatch.fetch(fired)
        if lost:
            raise StoreError(f"the weights of edits {sorted(lost)} are not to be had: gone, or damaged")
        return adapters


class RoutingDecision:
    """The decision of one batch of prompts; `routes` is filled once it has concluded."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._pooled: dict[View, Tensor] = {}
        self._found: SearchResult | None = None
        self._seconds = 0.0
        self.routes: list[Route] = []

    @property
    def views(self) -> Sequence[View]:
        """The views of the calibration that routes this batch."""
        return self._dispatch.router.calibration.views

    def observe(self, view: View, pooled_BD: Tensor) -> None:
        """Keep a view; the one that retrieval reads names the candidates, long before they are verified."""
        self._pooled[view] = pooled_BD
        router = self._dispatch.router
        if view != self.views[router.calibration.retrieval.view]:
            return
        began = time.perf_counter()
        self._found = router.retrieve(pooled_BD.float().cpu().numpy())
        if self._dispatch.prefetch and self._found is not None:
            self._dispatch.pager.prefetch(router.nearest_edits(self._found))
        self._seconds += time.perf_counter() - began

    def conclude(self) -> Action | None:
        """Verify, decide, fetch what fires."""
        began = time.perf_counter()
        views_BVD = torch.stack([self._pooled.pop(view) for view in self.views], dim=1).float().cpu().numpy()
        self.routes = self._dispatch.router.verify(views_BVD, self._found)
        action = self._fetch()
        self._seconds += time.perf_counter() - began
        self._dispatch.on_decided(len(self.routes), self._seconds)
        return action

    def _fetch(self) -> Action | None:
        fired = [(row, route.edit_id) for row, route in enumerate(self.routes) if route.edit_id is not None]
        if not fired:
            return None
        adapters, lost = self._dispatch.fetch(fired)
        if lost:
            self._dispatch.on_damage(lost)
            self.routes = [
                replace(route, edit_id=None) if route.edit_id in lost else route for route in self.routes
            ]
        return adapters
