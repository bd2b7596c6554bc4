"""Ingestion: read, dedupe, train, commit in groups, acknowledge; a job that can be killed and started again."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeGuard

import numpy as np
import numpy.typing as npt

from sola_scale.collisions import Collision, CollisionCheck
from sola_scale.errors import RequestError
from sola_scale.keying import key_rows
from sola_scale.keys import Calibration
from sola_scale.lora.training import Trainer, TrainingJob, TrainingOutcome
from sola_scale.requests import BadRecord, EditRequest
from sola_scale.routing import Route
from sola_scale.store import EditStatus, NewEdit, Store, Transition

Status = Literal["written", "superseded", "duplicate", "already-true", "rejected", "failed"]
ConflictPolicy = Literal["supersede", "reject", "keep-first"]
CollisionPolicy = Literal["coexist", "supersede", "reject"]

# Edits per transaction, near the knee of the durable commit rate, and seconds of work that a crash can cost at most.
_GROUP = 256
_GROUP_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one request."""

    status: Status
    """``written``; ``superseded``: written, and took over from an older edit; ``duplicate``: the same edit is live
    already; ``already-true``: the base model says so anyway; ``rejected``: passed over, an older
    edit of the prompt being kept; ``failed``."""
    prompt: str | None
    """The request's prompt; None for a record that was none."""
    target: str | None = None
    """The request's target."""
    edit_id: int | None = None
    """The edit that was written, or that a duplicate repeats."""
    replaced: int | None = None
    """The older edit that this one took over from."""
    collides: int | None = None
    """A live edit of another prompt that this prompt fired before it was written."""
    told_apart: bool | None = None
    """Of a collision: whether verification tells the two edits apart, for no wording of either giving the other the probability to fire;
    None where nothing collides, or the older edit cannot be read any more."""
    reason: str | None = None
    """Why it was not written, in a sentence."""
    line: int | None = None
    """Where the record stood in its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What became of a job."""

    outcomes: tuple[Outcome, ...]
    """One for each request, in the order they were settled."""
    seconds: float
    """Wall time of the job."""

    @property
    def written(self) -> list[int]:
        """Ids of the edits that were written, those that took over from older ones included."""
        return [
            one.edit_id
            for one in self.outcomes
            if one.edit_id is not None and one.status in ("written", "superseded")
        ]

    @property
    def counts(self) -> dict[str, int]:
        """How many requests met which outcome."""
        return dict(Counter(one.status for one in self.outcomes))


@dataclass(slots=True)
class _Pending:
    """A request on its way through training."""

    request: EditRequest
    updates: int | None
    replaces: int | None = None
    collision: Collision | None = None


@dataclass(slots=True)
class IngestJob:
    """One job: requests in, outcomes out, each acknowledged only once it is durable."""

    store: Store
    """Where the edits go, and what is asked for duplicates."""
    trainer: Trainer
    """Makes the adapters, and the views of the prompts in passing."""
    calibration: Calibration
    """Turns views into keys."""
    calibration_id: int
    """Which calibration of the store that is."""
    locate: Callable[[npt.NDArray[np.float32]], Sequence[Route]]
    """Routes prompts, given their views ``[B, V, D]``."""
    commit: Callable[[Sequence[NewEdit]], Transition]
    """Writes a group and makes it live."""
    on_conflict: ConflictPolicy = "supersede"
    """What becomes of a request whose prompt has a live edit with another target: it takes over (``supersede``), it
    fails (``reject``), or it is passed over (``keep-first``)."""
    on_collision: CollisionPolicy = "coexist"
    """What becomes of a request whose prompt fires a live edit of *another* prompt: both stay, each firing on its own
    prompt (``coexist``), it takes over (``supersede``), or it is passed over (``reject``)."""
    _pending: dict[int, _Pending] = field(default_factory=dict)
    _under_way: set[str] = field(default_factory=set)
    _deferred: list[EditRequest] = field(default_factory=list)
    _settled: list[Outcome] = field(default_factory=list)
    _next_token: int = 0

    @property
    def _check(self) -> CollisionCheck:
        return CollisionCheck(
            store=self.store, calibration=self.calibration, version=self.calibration_id, locate=self.locate
        )

    def run(
        self, requests: Iterable[EditRequest | BadRecord], on_outcome: Callable[[Outcome], None]
    ) -> IngestReport:
        """Work through ``requests``, which may be endless to come; outcomes are reported as they are settled."""
        began = time.perf_counter()
        outcomes: list[Outcome] = []
        for outcome in self._outcomes(requests):
            outcomes.append(outcome)
            on_outcome(outcome)
        return IngestReport(outcomes=tuple(outcomes), seconds=time.perf_counter() - began)

    def _outcomes(self, requests: Iterable[EditRequest | BadRecord]) -> Iterator[Outcome]:
        """Pass over the requests; those whose prompt was under way already are held back for the next pass."""
        while True:
            for group in self._groups(self.trainer.train(self._jobs(requests))):
                yield from self._settle(group)
                yield from self._drain()
            yield from self._drain()
            if not self._deferred:
                return
            requests, self._deferred = self._deferred, []

    @staticmethod
    def _groups(trained: Iterable[TrainingOutcome]) -> Iterator[list[TrainingOutcome]]:
        """Gather what is committed together: as many as a transaction takes well, or what came in a short while."""
        group: list[TrainingOutcome] = []
        began = time.monotonic()
        for one in trained:
            group.append(one)
            if len(group) >= _GROUP or time.monotonic() - began > _GROUP_SECONDS:
                yield group
                group, began = [], time.monotonic()
        if group:
            yield group

    def _drain(self) -> Iterator[Outcome]:
        settled, self._settled = self._settled, []
        yield from settled

    def _jobs(self, requests: Iterable[EditRequest | BadRecord]) -> Iterator[TrainingJob]:
        for request in requests:
            if isinstance(request, BadRecord):
                self._settled.append(
                    Outcome(status="failed", prompt=None, reason=request.reason, line=request.line)
                )
            elif request.prompt in self._under_way:
                self._deferred.append(request)
            else:
                job = self._admit(request)
                if job is not None:
                    yield job

    def _admit(self, request: EditRequest) -> TrainingJob | None:
        """Compare with the live edit of the same prompt, and settle the request or let it train."""
        live = self._live_edit(request.prompt)
        if live is not None and self.store.record(live).target == request.target:
            self._settle_now(request, "duplicate", "the same edit is live already", edit_id=live)
            return None
        if live is not None and self.on_conflict != "supersede":
            status: Status = "rejected" if self.on_conflict == "keep-first" else "failed"
            self._settle_now(request, status, f"edit {live} of the same prompt is live with another target")
            return None
        if live is None and self.on_collision == "supersede" and self._taken_over(request):
            return None
        token, self._next_token = self._next_token, self._next_token + 1
        self._pending[token] = _Pending(request, live)
        self._under_way.add(request.prompt)
        return TrainingJob(
            token=token, prompt=request.prompt, target=request.target, paraphrases=request.paraphrases
        )

    def _taken_over(self, request: EditRequest) -> bool:
        """Settle a request that was written before and that an edit of another prompt took over from: a job can be run again."""
        for found in self.store.find_prompt(request.prompt):
            record = self.store.record(found)
            if record.status is not EditStatus.SUPERSEDED or record.target != request.target:
                continue
            heir = next((one for one in self.store.chain(found) if self._is_live(one)), None)
            if heir is not None:
                reason = f"edit {heir} of another prompt took over from the same edit"
                self._settle_now(request, "duplicate", reason, edit_id=found)
                return True
        return False

    def _is_live(self, edit_id: int) -> bool:
        return self.store.record(edit_id).status is EditStatus.LIVE

    def _live_edit(self, prompt: str) -> int | None:
        return next((found for found in self.store.find_prompt(prompt) if self._is_live(found)), None)

    def _settle_now(
        self, request: EditRequest, status: Status, reason: str, *, edit_id: int | None = None
    ) -> None:
        self._settled.append(
            Outcome(
                status=status,
                prompt=request.prompt,
                target=request.target,
                edit_id=edit_id,
                reason=reason,
                line=request.line,
            )
        )

    def _settle(self, group: list[TrainingOutcome]) -> Iterator[Outcome]:
        """Commit and report a group, a transaction after the other, as long as some wait for others of it to be live."""
        while group:
            trained = [one for one in group if one.status == "trained"]
            waits = self._check.waiting([_views(one) for one in trained])
            waiting = {one.job.token for one, late in zip(trained, waits, strict=True) if late}
            ready = [one for one in trained if one.job.token not in waiting]
            self._find_collisions(ready)
            waiting |= self._forestalled(ready)
            yield from self._commit([one for one in group if one.job.token not in waiting])
            group = [one for one in group if one.job.token in waiting]

    def _forestalled(self, trained: list[TrainingOutcome]) -> set[int]:
        """Tokens of those that would take over from an edit that one before them takes over from."""
        first: dict[int, int] = {}
        tokens: set[int] = set()
        for one in trained:
            token, replaces = one.job.token, self._pending[one.job.token].replaces
            if replaces is not None and first.setdefault(replaces, token) != token:
                tokens.add(token)
        return tokens

    def _find_collisions(self, trained: list[TrainingOutcome]) -> None:
        """Route each new prompt as if it were asked now: what it fires, it collides with."""
        pending = [self._pending[one.job.token] for one in trained]
        for one in pending:
            one.replaces = one.updates if one.updates is not None and self._is_live(one.updates) else None
        found = self._check.met([_views(one) for one in trained], [one.replaces for one in pending])
        for one, collision in zip(pending, found, strict=True):
            one.collision = collision
            if collision is not None and self.on_collision == "supersede":
                one.replaces = one.replaces or collision.edit_id

    def _refuses(self, collision: Collision | None) -> TypeGuard[Collision]:
        return collision is not None and self.on_collision == "reject"

    def _commit(self, group: list[TrainingOutcome]) -> Iterator[Outcome]:
        """Commit what trained in one transaction, then report the whole group."""
        kept = [
            one
            for one in group
            if one.status == "trained" and not self._refuses(self._pending[one.job.token].collision)
        ]
        ids = iter(self.commit([self._edit(one) for one in kept]).edit_ids if kept else ())
        for one in group:
            pending = self._pending.pop(one.job.token)
            self._under_way.discard(pending.request.prompt)
            yield self._report(one, pending, ids)

    def _report(self, one: TrainingOutcome, pending: _Pending, ids: Iterator[int]) -> Outcome:
        status: Status = (
            one.status if one.status != "trained" else "superseded" if pending.replaces else "written"
        )
        reason = one.reason
        collision = pending.collision
        if self._refuses(collision):
            status, reason = "rejected", f"the prompt fires edit {collision.edit_id} already"
        stored = status in ("written", "superseded")
        return Outcome(
            status=status,
            prompt=pending.request.prompt,
            target=pending.request.target,
            edit_id=next(ids) if stored else None,
            replaced=pending.replaces if stored else None,
            collides=collision.edit_id if collision else None,
            told_apart=collision.told_apart if collision else None,
            reason=reason,
            line=pending.request.line,
        )

    def _edit(self, one: TrainingOutcome) -> NewEdit:
        pending = self._pending[one.job.token]
        if one.payload is None or one.views_KVD is None:
            raise RequestError(f"the trainer gave no weights for {pending.request.prompt!r}")
        return NewEdit(
            prompt=pending.request.prompt,
            target=pending.request.target,
            paraphrases=pending.request.paraphrases,
            tags=pending.request.tags,
            source=pending.request.source,
            keys=key_rows(self.calibration, list(one.views_KVD)),
            weights=one.payload,
            supersedes=pending.replaces,
            details=dict(one.figures),
            calibration=self.calibration_id,
        )


def _views(trained: TrainingOutcome) -> npt.NDArray[np.float32]:
    return np.asarray(trained.views_KVD, dtype=np.float32)
