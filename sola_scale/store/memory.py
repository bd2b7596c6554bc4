"""The in-memory twin: the same contract in plain dictionaries, simple enough to be believed."""

import copy
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import EditStateError, LogTruncatedError, RequestError, StoreClosedError, StoreError
from sola_scale.store.bookkeeping import FORMAT_VERSION
from sola_scale.store.changes import KeyBlock, LogEntry, Transition
from sola_scale.store.contract import Store, Visit
from sola_scale.store.keyrows import check_layout, layout_of
from sola_scale.store.ledger import Ledger
from sola_scale.store.limits import check_finite, check_keys, check_name
from sola_scale.store.records import (
    EditFilter,
    EditRecord,
    EditStatus,
    KeyRows,
    NewEdit,
    Operation,
    StoreManifest,
)
from sola_scale.store.reports import StoreStats, VerifyReport
from sola_scale.store.verbs import STATUS_AFTER, check_batch


class MemoryStore(Store):
    """A store that is gone when the process is; for tests, trials, and as the measure of the durable one."""

    def __init__(self, manifest: StoreManifest, *, clock: Callable[[], int] = time.time_ns) -> None:
        stamp = {"format_version": FORMAT_VERSION, "created_at": clock()}
        self._manifest = msgspec.structs.replace(manifest, **stamp)
        self._clock = clock
        self._lock = threading.RLock()
        self._open_ledger: Ledger | None = Ledger()
        self._blobs: dict[str, bytes] = {}
        self._settings: dict[str, Any] = {}

    @property
    def _ledger(self) -> Ledger:
        if self._open_ledger is None:
            raise StoreClosedError("the store is closed")
        return self._open_ledger

    @property
    def manifest(self) -> StoreManifest:
        """What the store is bound to."""
        return self._manifest

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest log entry."""
        return self._ledger.last_seq

    @property
    def next_edit_id(self) -> int:
        """The id the next written edit gets."""
        return self._ledger.next_edit

    @property
    def low_water(self) -> int:
        """Sequence number up to which the log was truncated."""
        return self._ledger.low_water

    @property
    def calibration(self) -> int | None:
        """Id of the calibration of all keys."""
        layout = self._ledger.layout
        return layout.calibration if layout else None

    # --- verbs ---------------------------------------------------------------------------------------------

    def write(self, edits: Sequence[NewEdit]) -> Transition:
        """Store edits in one step."""
        with self._lock:
            if not edits:
                return Transition(operation=Operation.WRITE, last_seq=self.last_seq)
            layout = check_batch(edits)
            check_layout(layout, self._ledger.layout or layout)
            return self._ledger.write(edits, layout, self._clock())

    def revoke(self, ids: Iterable[int]) -> Transition:
        """Stop edits, reversibly."""
        return self._change(Operation.REVOKE, ids)

    def restore(self, ids: Iterable[int]) -> Transition:
        """Undo `revoke` and `quarantine`."""
        return self._change(Operation.RESTORE, ids)

    def purge(self, ids: Iterable[int]) -> Transition:
        """Erase edits for good."""
        return self._change(Operation.PURGE, ids)

    def quarantine(self, ids: Iterable[int], reason: str) -> Transition:
        """Stop damaged edits."""
        return self._change(Operation.QUARANTINE, ids, reason)

    def rehearse(self, operation: Operation, ids: Iterable[int]) -> Transition:
        """What a verb would do."""
        with self._lock:
            status = STATUS_AFTER[operation]
            return copy.deepcopy(self._ledger).change(operation, status, ids, self._clock(), "")

    def _change(self, operation: Operation, ids: Iterable[int], note: str = "") -> Transition:
        with self._lock:
            return self._ledger.change(operation, STATUS_AFTER[operation], ids, self._clock(), note)

    def recalibrate(
        self, calibration: int, rows: Iterable[tuple[int, KeyRows]], blobs: Mapping[str, bytes] | None = None
    ) -> Transition:
        """Exchange the keys of all edits."""
        given: dict[int, KeyRows] = {}
        layout = None
        for edit_id, keys in rows:
            check_keys(keys)
            layout = layout or layout_of(keys, calibration)
            check_layout(layout_of(keys, calibration), layout)
            self._ledger.entry(edit_id)
            check_finite([keys])
            given[edit_id] = keys
        with self._lock:
            transition = self._ledger.exchange(given, layout, self._clock())
            self.put_blobs(blobs or {})
            return transition

    # --- records -------------------------------------------------------------------------------------------

    def record(self, edit_id: int) -> EditRecord:
        """One edit's record."""
        record = self._ledger.entry(edit_id).record
        return msgspec.structs.replace(record, calibration=self.calibration or 0)

    def records(self, where: EditFilter | None = None) -> Iterator[EditRecord]:
        """Matching records in ascending order of id."""
        where = where or EditFilter()
        matching = [record for record in map(self.record, self._ledger.entries) if where.matches(record)]
        yield from matching[: where.limit]

    def find_prompt(self, prompt: str) -> list[int]:
        """Ids of the edits with exactly this prompt."""
        entries = self._ledger.entries.items()
        return [e for e, entry in entries if entry.weights is not None and entry.record.prompt == prompt]

    def chain(self, edit_id: int) -> list[int]:
        """Ids of an edit's chain, oldest first."""
        return self._ledger.chain(edit_id)

    # --- weights and keys ----------------------------------------------------------------------------------

    def read_weights(self, ids: Iterable[int], visit: Visit) -> None:
        """Show each edit's weights to `visit`."""
        for edit_id in ids:
            weights = self._ledger.entry(edit_id).weights
            if weights is None:
                raise EditStateError(f"edit {edit_id} is purged: its weights and keys are gone")
            visit(edit_id, memoryview(weights))

    def verification(self, key_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float16], NDArray[np.uint64]]:
        """Verification vectors and owners of keys."""
        layout = self._ledger.layout
        rows = np.zeros((len(key_ids), layout.verification_width if layout else 0), dtype=np.float16)
        for number, key_id in enumerate(key_ids.tolist()):
            if key_id in self._ledger.owners:
                edit_id, row = self._ledger.owners[key_id]
                rows[number] = self._ledger.keys_of(edit_id).verification[row]
        return rows, self.owners(key_ids)

    def owners(self, key_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Whose keys these are."""
        owners = self._ledger.owners
        return np.array([owners.get(key_id, (0, 0))[0] for key_id in key_ids.tolist()], dtype=np.uint64)

    def keys(self, edit_id: int) -> KeyRows:
        """Copies of an edit's key vectors."""
        keys = self._ledger.keys_of(edit_id)
        return KeyRows(keys.retrieval.copy(), keys.verification.copy())

    def active_keys(self, block: int = 4096) -> Iterator[KeyBlock]:
        """All keys the index shall hold, in blocks."""
        key_ids = sorted(self._ledger.owners)
        for start in range(0, len(key_ids), block):
            part = key_ids[start : start + block]
            owners = [self._ledger.owners[key_id] for key_id in part]
            rows = np.stack([self._ledger.keys_of(edit_id).retrieval[row] for edit_id, row in owners])
            edit_ids = np.array([edit_id for edit_id, _ in owners], dtype=np.uint64)
            yield KeyBlock(part[-1], np.array(part, dtype=np.uint64), edit_ids, rows)

    # --- log -----------------------------------------------------------------------------------------------

    def log(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Log entries beyond `after`."""
        if after < self.low_water:
            raise LogTruncatedError(f"the log starts after entry {self.low_water}, asked was {after}")
        return [entry for entry in self._ledger.log if entry.seq > after][:limit]

    def changes(self, after: int, limit: int = 100) -> list[Transition]:
        """The same as transitions for an index."""
        return [self._ledger.transition(entry) for entry in self.log(after, limit)]

    def truncate_log(self, before: int) -> int:
        """Forget log entries below `before`."""
        with self._lock:
            kept = [entry for entry in self._ledger.log if entry.seq >= min(before, self.last_seq)]
            gone = len(self._ledger.log) - len(kept)
            self._ledger.low_water += gone
            self._ledger.log = kept
            return gone

    # --- blobs and settings --------------------------------------------------------------------------------

    def put_blobs(self, blobs: Mapping[str, bytes | None]) -> None:
        """Store named byte strings."""
        for name in blobs:
            check_name(name)
        merged = {**self._blobs, **blobs}
        self._blobs = {name: bytes(data) for name, data in merged.items() if data is not None}

    def blob(self, name: str) -> bytes:
        """A named byte string."""
        return self._blobs[name]

    def blobs(self) -> dict[str, int]:
        """Name → size of every blob."""
        return {name: len(data) for name, data in sorted(self._blobs.items())}

    def put_settings(self, settings: Mapping[str, Any]) -> None:
        """Change settings."""
        for name in settings:
            check_name(name)
        merged = {**self._settings, **settings}
        try:
            # Through the same encoding as on disk, so that tuples come back as lists here as well.
            kept = {name: value for name, value in merged.items() if value is not None}
            self._settings = msgspec.msgpack.decode(msgspec.msgpack.encode(kept))
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(f"settings are not JSON-like: {error}") from error

    def settings(self) -> dict[str, Any]:
        """All settings."""
        return dict(sorted(self._settings.items()))

    # --- care ----------------------------------------------------------------------------------------------

    def stats(self) -> StoreStats:
        """Counts by status and bytes given."""
        entries = list(self._ledger.entries.values())
        counts = Counter(entry.record.status for entry in entries)
        keys = [entry.keys for entry in entries if entry.keys is not None]
        payload = {
            "weights": sum(len(entry.weights or b"") for entry in entries),
            "retrieval": sum(rows.retrieval.nbytes for rows in keys),
            "verification": sum(rows.verification.nbytes for rows in keys),
            "records": 0,
        }
        return StoreStats(
            statuses={status: counts[status] for status in EditStatus},
            active_keys=len(self._ledger.owners),
            last_seq=self.last_seq,
            low_water=self.low_water,
            payload=payload,
            tables={},
            used_bytes=sum(payload.values()),
            file_bytes=0,
        )

    def verify(self, *, repair: bool = False) -> VerifyReport:  # noqa: ARG002 -- memory does not rot
        """Count the edits; nothing here can be damaged."""
        return VerifyReport(edits=len(self._ledger.entries))

    def backup(self, path: Path | str) -> None:
        """Refused: there is nothing on disk to open again."""
        raise StoreError(f"an in-memory store cannot be backed up to {path}: write its edits to an LmdbStore")

    def compact(self) -> int:
        """Nothing to do."""
        self._ledger.entry  # noqa: B018 -- a closed store says so
        return 0

    def refresh(self) -> int:
        """The newest sequence number; nobody else writes here."""
        return self.last_seq

    def close(self) -> None:
        """Forget everything."""
        self._open_ledger = None
