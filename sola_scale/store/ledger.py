"""The state of an in-memory store: edits, chains, keys and log in plain dictionaries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from sola_scale.errors import EditStateError, UnknownEditError
from sola_scale.store.bookkeeping import KeyLayout
from sola_scale.store.changes import Activation, KeySpan, LogEntry, Transition, no_keys
from sola_scale.store.records import EditRecord, EditStatus, Event, KeyRows, NewEdit, Operation, unique

_NEEDED = (EditStatus.LIVE, EditStatus.SUPERSEDED, EditStatus.REVOKED)


@dataclass
class Entry:
    """All there is of one edit."""

    record: EditRecord
    """What the store shows of it."""
    weights: bytes | None
    """None once purged."""
    keys: KeyRows | None
    """None once purged, or when a calibration brought none for a quarantined edit."""


class Ledger:
    """Plain and slow: what it does is what the contract says, line by line."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.owners: dict[int, tuple[int, int]] = {}
        self.log: list[LogEntry] = []
        self.layout: KeyLayout | None = None
        self.next_key = 1
        self.low_water = 0
        self._asked: list[int] = []
        self._gone: list[KeySpan] = []
        self._come: list[KeySpan] = []

    @property
    def last_seq(self) -> int:
        """Newest log entry."""
        return self.log[-1].seq if self.log else 0

    @property
    def next_edit(self) -> int:
        """Next edit id."""
        return len(self.entries) + 1

    def entry(self, edit_id: int) -> Entry:
        """One edit; raises UnknownEditError."""
        if edit_id not in self.entries:
            raise UnknownEditError(f"there is no edit {edit_id}")
        return self.entries[edit_id]

    def chain(self, edit_id: int) -> list[int]:
        """Ids of an edit's chain."""
        root = self.entry(edit_id).record.chain
        return [other for other, entry in self.entries.items() if entry.record.chain == root]

    def write(self, edits: Sequence[NewEdit], layout: KeyLayout, at: int) -> Transition:
        """Add checked edits."""
        for number, edit in enumerate(edits):
            if edit.supersedes is not None and not 0 < edit.supersedes < self.next_edit + number:
                raise UnknownEditError(f"there is no edit {edit.supersedes}")
        self.layout = layout
        for edit in edits:
            self._add(edit, at)
        self._settle(at)
        return self._finish(Operation.WRITE, at)

    def _add(self, edit: NewEdit, at: int) -> None:
        edit_id = self.next_edit
        copied = {
            name: getattr(edit, name) for name in ("prompt", "target", "source", "supersedes", "calibration")
        }
        record = EditRecord(
            id=edit_id,
            paraphrases=tuple(edit.paraphrases),
            tags=tuple(edit.tags),
            created_at=at,
            status=EditStatus.SUPERSEDED,
            chain=self.entry(edit.supersedes).record.chain if edit.supersedes else edit_id,
            details=dict(edit.details or {}),
            key_ids=(),
            history=(Event(self.last_seq + 1, at, Operation.WRITE),),
            **copied,
        )
        self.entries[edit_id] = Entry(record, edit.weights, edit.keys)
        self._asked.append(edit_id)

    def change(
        self, operation: Operation, status: EditStatus, ids: Iterable[int], at: int, note: str
    ) -> Transition:
        """Revoke, restore, purge or quarantine."""
        found = {edit_id: self.entry(edit_id) for edit_id in unique(ids)}
        for edit_id, entry in found.items():
            self._refuse(operation, edit_id, entry)
        for edit_id, entry in found.items():
            was = entry.record.status
            same = was.eligible if operation is Operation.RESTORE else was is status
            stopped = operation is Operation.REVOKE and was is EditStatus.QUARANTINED
            if same or stopped or was is EditStatus.PURGED:
                continue
            self._drop_keys(edit_id)
            self._set(edit_id, status=status)
            if operation is Operation.PURGE:
                self._erase(entry)
            self._note(edit_id, at, operation, note)
            self._asked.append(edit_id)
        self._settle(at)
        return self._finish(operation, at)

    @staticmethod
    def _refuse(operation: Operation, edit_id: int, entry: Entry) -> None:
        reversible = operation in (Operation.RESTORE, Operation.QUARANTINE)
        if reversible and entry.record.status is EditStatus.PURGED:
            raise EditStateError(f"edit {edit_id} is purged")
        if operation is Operation.RESTORE and entry.keys is None:
            raise EditStateError(f"edit {edit_id} has no keys")

    @staticmethod
    def _erase(entry: Entry) -> None:
        entry.weights = entry.keys = None
        history = tuple(Event(event.seq, event.at, event.operation) for event in entry.record.history)
        blank: dict[str, Any] = {"paraphrases": (), "tags": (), "source": None, "details": {}}
        entry.record = msgspec.structs.replace(entry.record, prompt="", target="", history=history, **blank)

    def _settle(self, at: int) -> None:
        """Activate the newest eligible edit of every chain that was touched, and no other."""
        for root in unique(self.entry(edit_id).record.chain for edit_id in self._asked):
            eligible = [e for e in self.chain(root) if self.entry(e).record.status.eligible]
            for edit_id in eligible[:-1]:
                if self.entry(edit_id).record.key_ids:
                    self._note(edit_id, at, Operation.SUPERSEDE, str(eligible[-1]))
                self._drop_keys(edit_id)
                self._set(edit_id, status=EditStatus.SUPERSEDED)
            if eligible and not self.entry(eligible[-1]).record.key_ids:
                if eligible[-1] not in self._asked:
                    self._note(eligible[-1], at, Operation.RESUME)
                self._give_keys(eligible[-1])

    def _give_keys(self, edit_id: int) -> None:
        keys = self.entry(edit_id).keys
        span = KeySpan(edit_id, self.next_key, len(keys) if keys else 0)
        self.next_key += span.count
        self.owners.update({span.first + row: (edit_id, row) for row in range(span.count)})
        self._set(edit_id, status=EditStatus.LIVE, key_ids=tuple(span.key_ids.tolist()))
        self._come.append(span)

    def _drop_keys(self, edit_id: int) -> None:
        key_ids = self.entry(edit_id).record.key_ids
        if key_ids:
            self._gone.append(KeySpan(edit_id, key_ids[0], len(key_ids)))
            self._set(edit_id, key_ids=())
        for key_id in key_ids:
            del self.owners[key_id]

    def _set(self, edit_id: int, **changes: Any) -> None:
        entry = self.entry(edit_id)
        entry.record = msgspec.structs.replace(entry.record, **changes)

    def _note(self, edit_id: int, at: int, operation: Operation, note: str = "") -> None:
        history = self.entry(edit_id).record.history
        self._set(edit_id, history=(*history, Event(self.last_seq + 1, at, operation, note)))

    def _finish(self, operation: Operation, at: int) -> Transition:
        lists = tuple(self._asked), tuple(self._gone), tuple(self._come)
        self._asked, self._gone, self._come = [], [], []
        if not lists[0]:
            return Transition(operation=operation, last_seq=self.last_seq)
        self.log.append(LogEntry(self.last_seq + 1, at, operation, *lists))
        return self.transition(self.log[-1])

    def transition(self, entry: LogEntry) -> Transition:
        """What an index must do for a log entry."""
        return Transition(
            operation=entry.operation,
            edit_ids=entry.edit_ids,
            deactivated=np.concatenate([no_keys(), *(span.key_ids for span in entry.deactivated)]),
            activated=tuple(
                Activation(span.edit_id, span.key_ids, self.keys_of(span.edit_id).retrieval)
                for span in entry.activated
                if self.owners.get(span.first) == (span.edit_id, 0)
            ),
            last_seq=entry.seq,
            rebuild=entry.rebuild,
        )

    def keys_of(self, edit_id: int) -> KeyRows:
        """An edit's keys; raises UnknownEditError or EditStateError."""
        keys = self.entry(edit_id).keys
        if keys is None:
            raise EditStateError(f"edit {edit_id} is purged: its weights and keys are gone")
        return keys

    def exchange(self, rows: Mapping[int, KeyRows], layout: KeyLayout | None, at: int) -> Transition:
        """Give every edit its new keys, and every live one fresh key ids."""
        for edit_id, entry in self.entries.items():
            if entry.record.status in _NEEDED and edit_id not in rows:
                raise EditStateError(f"edit {edit_id} got no keys of the new calibration; the old ones stay")
        for edit_id, entry in self.entries.items():
            self._drop_keys(edit_id)
            entry.keys = None if entry.record.status is EditStatus.PURGED else rows.get(edit_id)
            if entry.record.status is EditStatus.LIVE:
                self._give_keys(edit_id)
        self.layout = layout or self.layout
        self._gone, self._come = [], []
        self.log.append(LogEntry(self.last_seq + 1, at, Operation.RECALIBRATE, ()))
        return self.transition(self.log[-1])
