"""The in-memory twin: the same contract in plain dictionaries, simple enough to be believed."""

import copy
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import (
    EditStateError,
    LogTruncatedError,
    StoreClosedError,
    StoreError,
    UnknownEditError,
)
from sola_scale.store.changes import Activation, KeyBlock, KeySpan, LogEntry, Transition, no_keys
from sola_scale.store.contract import Store, Visit
from sola_scale.store.keyrows import check_layout, layout_of
from sola_scale.store.limits import check_keys, check_name
from sola_scale.store.records import (
    EditFilter,
    EditRecord,
    EditStatus,
    Event,
    KeyRows,
    NewEdit,
    Operation,
    StoreManifest,
    unique,
)
from sola_scale.store.reports import StoreStats, TableStats, VerifyReport
from sola_scale.store.verbs import check_batch

_NEEDED = (EditStatus.LIVE, EditStatus.SUPERSEDED, EditStatus.REVOKED)


@dataclass
class _Edit:
    """All there is of one edit."""

    new: NewEdit | None
    record: EditRecord


@dataclass
class _State:
    """All there is of a store; copied before a change, so that a change that fails leaves none behind."""

    edits: dict[int, _Edit] = field(default_factory=dict)
    keys: dict[int, tuple[int, int]] = field(default_factory=dict)
    log: list[LogEntry] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    next_key: int = 1
    low_water: int = 0
    layout: Any = None

    @property
    def last_seq(self) -> int:
        return self.log[-1].seq if self.log else self.low_water


class MemoryStore(Store):
    """A store that is gone when the process is; for tests, trials and as the measure of the durable one."""

    def __init__(self, manifest: StoreManifest, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._manifest = msgspec.structs.replace(manifest, format_version=1, created_at=clock())
        self._clock = clock
        self._lock = threading.RLock()
        self._state: _State | None = _State()
        # What the transaction in the making did.
        self._gone: list[KeySpan] = []
        self._come: list[KeySpan] = []
        self._asked: list[int] = []

    # --- state ---------------------------------------------------------------------------------------------

    @property
    def _now(self) -> _State:
        if self._state is None:
            raise StoreClosedError("the store is closed")
        return self._state

    @property
    def manifest(self) -> StoreManifest:
        """What the store is bound to."""
        return self._manifest

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest log entry."""
        return self._now.last_seq

    @property
    def next_edit_id(self) -> int:
        """The id the next written edit gets."""
        return len(self._now.edits) + 1

    @property
    def low_water(self) -> int:
        """Sequence number up to which the log was truncated."""
        return self._now.low_water

    @property
    def calibration(self) -> int | None:
        """Id of the calibration of all keys."""
        return self._now.layout.calibration if self._now.layout else None

    def _edit(self, edit_id: int) -> _Edit:
        if edit_id not in self._now.edits:
            raise UnknownEditError(f"there is no edit {edit_id}")
        return self._now.edits[edit_id]

    def _contents(self, edit_id: int) -> NewEdit:
        new = self._edit(edit_id).new
        if new is None:
            raise EditStateError(f"edit {edit_id} is purged: its weights and keys are gone")
        return new

    # --- verbs ---------------------------------------------------------------------------------------------

    def write(self, edits: Sequence[NewEdit]) -> Transition:
        """Store edits in one step."""
        with self._lock:
            if not edits:
                return self._finish(Operation.WRITE, 0)
            layout, at = check_batch(edits), self._clock()
            check_layout(layout, self._now.layout or layout)
            first = self.next_edit_id
            for number, edit in enumerate(edits):
                known = edit.supersedes is None or 0 < edit.supersedes < first + number
                if not known:
                    raise UnknownEditError(f"there is no edit {edit.supersedes}")
            self._now.layout = layout
            for edit in edits:
                self._add(edit, at)
            self._settle(at)
            return self._finish(Operation.WRITE, at)

    def _add(self, edit: NewEdit, at: int) -> None:
        edit_id = self.next_edit_id
        chain = self._edit(edit.supersedes).record.chain if edit.supersedes else edit_id
        record = EditRecord(
            id=edit_id,
            prompt=edit.prompt,
            target=edit.target,
            paraphrases=tuple(edit.paraphrases),
            tags=tuple(edit.tags),
            source=edit.source,
            created_at=at,
            status=EditStatus.SUPERSEDED,
            supersedes=edit.supersedes,
            chain=chain,
            calibration=edit.calibration,
            details=dict(edit.details or {}),
            key_ids=(),
            history=(Event(self.last_seq + 1, at, Operation.WRITE),),
        )
        self._now.edits[edit_id] = _Edit(edit, record)
        self._asked.append(edit_id)

    def revoke(self, ids: Iterable[int]) -> Transition:
        """Stop edits, reversibly."""
        return self._change(Operation.REVOKE, EditStatus.REVOKED, ids)

    def restore(self, ids: Iterable[int]) -> Transition:
        """Undo `revoke` and `quarantine`."""
        return self._change(Operation.RESTORE, EditStatus.SUPERSEDED, ids)

    def purge(self, ids: Iterable[int]) -> Transition:
        """Erase edits for good."""
        return self._change(Operation.PURGE, EditStatus.PURGED, ids)

    def quarantine(self, ids: Iterable[int], reason: str) -> Transition:
        """Stop damaged edits."""
        return self._change(Operation.QUARANTINE, EditStatus.QUARANTINED, ids, reason)

    def _change(self, operation: Operation, status: EditStatus, ids: Iterable[int], note: str = "") -> Transition:
        with self._lock:
            found = {edit_id: self._edit(edit_id) for edit_id in unique(ids)}
            for edit_id, edit in found.items():
                if edit.new is None and operation in (Operation.RESTORE, Operation.QUARANTINE):
                    raise EditStateError(f"edit {edit_id} is purged: it cannot be changed")
            at = self._clock()
            for edit_id, edit in found.items():
                if edit.new is None or edit.record.status is status:
                    continue
                if operation is Operation.RESTORE and edit.record.status.eligible:
                    continue
                self._drop_keys(edit_id)
                self._set(edit_id, status=status)
                self._note(edit_id, at, operation, note)
                self._asked.append(edit_id)
                if operation is Operation.PURGE:
                    self._erase(edit)
            self._settle(at)
            return self._finish(operation, at)

    def _erase(self, edit: _Edit) -> None:
        edit.new = None
        bare = tuple(Event(e.seq, e.at, e.operation) for e in edit.record.history)
        blank: dict[str, Any] = {"paraphrases": (), "tags": (), "source": None, "details": {}, "history": bare}
        edit.record = msgspec.structs.replace(edit.record, prompt="", target="", **blank)

    def _settle(self, at: int) -> None:
        """Activate the newest eligible edit of every chain that was touched, and no other."""
        for root in unique(self._edit(edit_id).record.chain for edit_id in self._asked):
            eligible = [e for e in self.chain(root) if self._edit(e).record.status.eligible]
            for edit_id in eligible[:-1]:
                if self._edit(edit_id).record.key_ids:
                    self._note(edit_id, at, Operation.SUPERSEDE, str(eligible[-1]))
                self._drop_keys(edit_id)
                self._set(edit_id, status=EditStatus.SUPERSEDED)
            if eligible and not self._edit(eligible[-1]).record.key_ids:
                if eligible[-1] not in self._asked:
                    self._note(eligible[-1], at, Operation.RESUME)
                self._give_keys(eligible[-1])

    def _give_keys(self, edit_id: int) -> None:
        span = KeySpan(edit_id, self._now.next_key, len(self._contents(edit_id).keys))
        self._now.next_key += span.count
        self._now.keys.update({int(k): (edit_id, row) for row, k in enumerate(span.key_ids)})
        self._set(edit_id, status=EditStatus.LIVE, key_ids=tuple(int(k) for k in span.key_ids))
        self._come.append(span)

    def _drop_keys(self, edit_id: int) -> None:
        key_ids = self._edit(edit_id).record.key_ids
        if key_ids:
            self._gone.append(KeySpan(edit_id, key_ids[0], len(key_ids)))
            self._set(edit_id, key_ids=())
        for key_id in key_ids:
            del self._now.keys[key_id]

    def _set(self, edit_id: int, **changes: Any) -> None:
        edit = self._edit(edit_id)
        edit.record = msgspec.structs.replace(edit.record, **changes)

    def _note(self, edit_id: int, at: int, operation: Operation, note: str = "") -> None:
        history = self._edit(edit_id).record.history
        self._set(edit_id, history=(*history, Event(self.last_seq + 1, at, operation, note)))

    def _finish(self, operation: Operation, at: int) -> Transition:
        asked, gone, come = self._asked, self._gone, self._come
        self._asked, self._gone, self._come = [], [], []
        if not asked:
            return Transition(operation=operation, last_seq=self.last_seq)
        entry = LogEntry(self.last_seq + 1, at, operation, tuple(asked), tuple(gone), tuple(come))
        self._now.log.append(entry)
        return self._transition(entry)

    def _transition(self, entry: LogEntry) -> Transition:
        return Transition(
            operation=entry.operation,
            edit_ids=entry.edit_ids,
            deactivated=np.concatenate([no_keys(), *(span.key_ids for span in entry.deactivated)]),
            activated=tuple(
                Activation(span.edit_id, span.key_ids, self._contents(span.edit_id).keys.retrieval.copy())
                for span in entry.activated
                if self._now.keys.get(span.first) == (span.edit_id, 0)
            ),
            last_seq=entry.seq,
            rebuild=entry.rebuild,
        )

    def recalibrate(
        self, calibration: int, rows: Iterable[tuple[int, KeyRows]], blobs: Mapping[str, bytes] | None = None
    ) -> Transition:
        """Exchange the keys of all edits."""
        given = dict(rows)
        for edit_id, keys in given.items():
            self._edit(edit_id)
            check_keys(keys)
            check_layout(layout_of(keys, calibration), layout_of(next(iter(given.values())), calibration))
        with self._lock:
            for edit_id, edit in self._now.edits.items():
                if edit.record.status in _NEEDED and edit_id not in given:
                    raise EditStateError(f"edit {edit_id} got no keys of the new calibration; the old ones stay")
            self.put_blobs(blobs or {})
            for edit_id, edit in self._now.edits.items():
                self._exchange(edit_id, edit, given.get(edit_id), calibration)
            self._gone, self._come = [], []
            if given:
                self._now.layout = layout_of(next(iter(given.values())), calibration)
            entry = LogEntry(self.last_seq + 1, self._clock(), Operation.RECALIBRATE, ())
            self._now.log.append(entry)
            return self._transition(entry)

    def _exchange(self, edit_id: int, edit: _Edit, keys: KeyRows | None, calibration: int) -> None:
        self._drop_keys(edit_id)
        self._set(edit_id, calibration=calibration)
        if edit.new is not None and keys is not None:
            edit.new = copy.copy(edit.new)
            object.__setattr__(edit.new, "keys", keys)
            if edit.record.status is EditStatus.LIVE:
                self._give_keys(edit_id)
