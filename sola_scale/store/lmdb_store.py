"""The LMDB store: one folder, one file, one writer, any number of readers."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import CorruptRecordError, StoreClosedError, StoreReadOnlyError
from sola_scale.store import files, queries, recalibration, rewrite, shelf, verbs
from sola_scale.store.admission import admit
from sola_scale.store.audit import Audit, check_structure
from sola_scale.store.bookkeeping import Counters, read_counters, read_layout, read_manifest
from sola_scale.store.changes import KeyBlock, LogEntry, Transition, no_keys
from sola_scale.store.contract import Store, Visit
from sola_scale.store.environment import MAP_SIZE, Environment, ReadScope, file_key
from sola_scale.store.locks import WriterLock
from sola_scale.store.measurement import measure
from sola_scale.store.records import EditFilter, EditRecord, KeyRows, NewEdit, Operation, StoreManifest
from sola_scale.store.repair import repair as mend
from sola_scale.store.reports import Damage, StoreStats, VerifyReport
from sola_scale.store.stored import read_record
from sola_scale.store.transaction import ReadTransaction, WriteTransaction

Clock = Callable[[], int]


class LmdbStore(Store):
    """A store in a folder; made by `create` or `open`, never by its constructor."""

    def __init__(
        self, folder: Path, environment: Environment, lock: WriterLock | None, map_size: int, clock: Clock
    ) -> None:
        self.path = folder
        self._environment: Environment | None = environment
        self._lock = lock
        self._map_size = map_size
        self._clock = clock
        self._writing = threading.RLock()
        with environment.read() as txn:
            self._manifest = read_manifest(txn)

    @classmethod
    def create(
        cls,
        path: Path | str,
        manifest: StoreManifest,
        *,
        map_size: int = MAP_SIZE,
        clock: Clock = time.time_ns,
    ) -> Self:
        """Make a store in a folder and open it for writing.

        Args:
            path: The folder; made if missing.
            manifest: What the store is bound to.
            map_size: The most bytes the file may ever take; address space, not disk.
            clock: Nanoseconds since the epoch.

        Raises:
            StoreExistsError: The folder holds a store.
            StoreReadOnlyError: The folder cannot be written.
        """
        files.create_file(Path(path), manifest, map_size=map_size, at=clock())
        return cls.open(path, map_size=map_size, clock=clock)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        read_only: bool = False,
        fingerprint: Mapping[str, str] | None = None,
        map_size: int = MAP_SIZE,
        clock: Clock = time.time_ns,
    ) -> Self:
        """Open the store in a folder.

        Args:
            path: The folder.
            read_only: Follow another process's store; any number may.
            fingerprint: Parts (model, tokenizer, layout) that the store must agree with.
            map_size: The most bytes the file may ever take; address space, not disk.
            clock: Nanoseconds since the epoch.

        Raises:
            StoreNotFoundError: There is no store.
            StoreLockedError: Another store object, here or in another process, writes it.
            StoreReadOnlyError: The folder cannot be written and `read_only` was not given.
            FingerprintMismatchError: It belongs to another model, tokenizer or layout.
            FormatVersionError: It was written by a newer version.
            CorruptRecordError: The file is truncated, or is no store.
        """
        folder = Path(path)
        files.check_exists(folder)
        lock = None if read_only else WriterLock(folder)
        try:
            environment = files.open_file(folder, map_size=map_size)
            try:
                admit(environment, fingerprint, writing=not read_only)
                return cls(folder, environment, lock, map_size, clock)
            except BaseException:
                environment.release()
                raise
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    # --- state ---------------------------------------------------------------------------------------------

    @property
    def manifest(self) -> StoreManifest:
        """What the store is bound to."""
        return self._manifest

    @property
    def read_only(self) -> bool:
        """Whether this object cannot write."""
        return self._lock is None

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest log entry."""
        return self._counters().last_seq

    @property
    def next_edit_id(self) -> int:
        """The id the next written edit gets."""
        return self._counters().next_edit

    @property
    def low_water(self) -> int:
        """Sequence number up to which the log was truncated."""
        return self._counters().low_water

    @property
    def calibration(self) -> int | None:
        """Id of the calibration of all keys."""
        with self._read() as txn:
            layout = read_layout(txn)
        return layout.calibration if layout else None

    def _counters(self) -> Counters:
        with self._read() as txn:
            return read_counters(txn)

    def _open_environment(self) -> Environment:
        if self._environment is None:
            raise StoreClosedError(f"the store {self.path} is closed")
        return self._environment

    def _read(self) -> ReadScope:
        return self._open_environment().read()

    @contextmanager
    def _write(self) -> Iterator[WriteTransaction]:
        with self._writing:
            environment = self._open_environment()
            if self._lock is None:
                raise StoreReadOnlyError(f"the store {self.path} is open for reading only")
            with environment.write() as txn:
                yield txn

    # --- verbs ---------------------------------------------------------------------------------------------

    def write(self, edits: Sequence[NewEdit]) -> Transition:
        """Store edits in one transaction."""
        layout = verbs.check_batch(edits) if edits else None
        with self._write() as txn:
            entry = verbs.write_edits(txn, edits, layout, self._clock()) if layout else None
            if entry is None:
                return self._unchanged(txn, Operation.WRITE)
            rows = dict(zip(entry.edit_ids, (edit.keys.retrieval for edit in edits), strict=True))
            return queries.transition_of(txn, entry, rows)

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

    def _change(self, operation: Operation, ids: Iterable[int], note: str = "") -> Transition:
        with self._write() as txn:
            entry = verbs.change_status(txn, operation, ids, self._clock(), note)
            return queries.transition_of(txn, entry) if entry else self._unchanged(txn, operation)

    @staticmethod
    def _unchanged(txn: ReadTransaction, operation: Operation) -> Transition:
        return Transition(operation=operation, deactivated=no_keys(), last_seq=read_counters(txn).last_seq)

    def recalibrate(
        self, calibration: int, rows: Iterable[tuple[int, KeyRows]], blobs: Mapping[str, bytes] | None = None
    ) -> Transition:
        """Exchange the keys of all edits."""
        layout = recalibration.stage(self._write, calibration, rows)
        with self._write() as txn:
            shelf.put_blobs(txn, blobs or {})
            entry = recalibration.switch(txn, layout, self._clock())
            return queries.transition_of(txn, entry)

    # --- records -------------------------------------------------------------------------------------------

    def record(self, edit_id: int) -> EditRecord:
        """One edit's record."""
        with self._read() as txn:
            return read_record(txn, edit_id)

    def records(self, where: EditFilter | None = None) -> Iterator[EditRecord]:
        """Matching records in ascending order of id."""
        where = where or EditFilter()
        left = where.limit
        for page in self._record_pages(where):
            yield from page[:left]
            left = None if left is None else left - len(page)
            if left is not None and left <= 0:
                return

    def _record_pages(self, where: EditFilter) -> Iterator[list[EditRecord]]:
        if where.ids is not None:
            with self._read() as txn:
                page = queries.named_records(txn, where)
            yield page
            return
        after: int | None = where.after_id
        while after is not None:
            with self._read() as txn:
                page, after = queries.filtered_page(txn, where, after)
            yield page

    def find_prompt(self, prompt: str) -> list[int]:
        """Ids of the edits with exactly this prompt."""
        with self._read() as txn:
            return queries.with_prompt(txn, prompt)

    def chain(self, edit_id: int) -> list[int]:
        """Ids of an edit's chain, oldest first."""
        with self._read() as txn:
            return queries.chain_of(txn, edit_id)

    # --- weights and keys ----------------------------------------------------------------------------------

    def read_weights(self, ids: Iterable[int], visit: Visit) -> None:
        """Show each edit's checked weights to `visit`."""
        with self._read() as txn:
            queries.show_weights(txn, ids, visit)

    def verification(self, key_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float16], NDArray[np.uint64]]:
        """Verification vectors and owners of keys."""
        with self._read() as txn:
            return queries.verification_of(txn, key_ids)

    def owners(self, key_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Whose keys these are."""
        with self._read() as txn:
            return np.array(
                [edit_id for edit_id, _ in queries.owners_of(txn, key_ids.tolist())], dtype=np.uint64
            )

    def keys(self, edit_id: int) -> KeyRows:
        """Copies of an edit's key vectors."""
        with self._read() as txn:
            return queries.keys_of(txn, edit_id)

    def active_keys(self, block: int = 4096) -> Iterator[KeyBlock]:
        """All keys the index shall hold, in blocks."""
        start = 1
        while True:
            with self._read() as txn:
                found = queries.key_block(txn, start, block)
            if found is None:
                return
            yield found
            start = found.last + 1

    # --- log -----------------------------------------------------------------------------------------------

    def log(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Log entries beyond `after`."""
        with self._read() as txn:
            return queries.log_entries(txn, after, limit)

    def changes(self, after: int, limit: int = 1000) -> list[Transition]:
        """The same as transitions for an index."""
        with self._read() as txn:
            return [queries.transition_of(txn, entry) for entry in queries.log_entries(txn, after, limit)]

    def truncate_log(self, before: int) -> int:
        """Forget log entries below `before`."""
        with self._write() as txn:
            return shelf.truncate_log(txn, before)

    # --- blobs and settings --------------------------------------------------------------------------------

    def put_blobs(self, blobs: Mapping[str, bytes | None]) -> None:
        """Store named byte strings."""
        with self._write() as txn:
            shelf.put_blobs(txn, blobs)

    def blob(self, name: str) -> bytes:
        """A named byte string."""
        with self._read() as txn:
            return shelf.read_blob(txn, name)

    def blobs(self) -> dict[str, int]:
        """Name → size of every blob."""
        with self._read() as txn:
            return shelf.blob_sizes(txn)

    def put_settings(self, settings: Mapping[str, Any]) -> None:
        """Change settings."""
        with self._write() as txn:
            shelf.put_settings(txn, settings)

    def settings(self) -> dict[str, Any]:
        """All settings."""
        with self._read() as txn:
            return shelf.read_settings(txn)

    # --- care ----------------------------------------------------------------------------------------------

    def stats(self) -> StoreStats:
        """Counts by status and bytes by table."""
        with self._read() as txn:
            return measure(txn, self.path / files.FILE_NAME)

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check everything; with `repair`, quarantine the damaged edits."""
        with self._writing:
            structure = [] if self.read_only else check_structure(self.path / files.FILE_NAME)
            report = self._audit()
            report.damages[:0] = structure
            # Writing through pages that contradict one another could spread the damage.
            if not repair or not report.damages or any(damage.table == "file" for damage in report.damages):
                return report
            with self._write() as writing:
                return mend(writing, report, self._clock())

    def _audit(self) -> VerifyReport:
        report = VerifyReport()
        try:
            with self._read() as txn:
                Audit(txn, report).run()
        except CorruptRecordError as error:
            # LMDB itself came upon a page it cannot read: what was found until then still counts.
            report.damages.append(Damage(table="file", what=str(error)))
        return report

    def backup(self, path: Path | str) -> None:
        """Write a consistent copy to a new folder."""
        rewrite.backup_file(self._open_environment(), Path(path), map_size=self._map_size)

    def compact(self) -> int:
        """Rewrite the file without free space."""
        with self._writing:
            old = self._open_environment()
            if self._lock is None:
                raise StoreReadOnlyError(f"the store {self.path} is open for reading only")
            before = files.disk_bytes(self.path)
            rewrite.copy_file(old, self.path / files.NEW_NAME, map_size=self._map_size)
            files.exchange_file(self.path)
            self._follow_file()
            return before - files.disk_bytes(self.path)

    def refresh(self) -> int:
        """Follow what other processes did."""
        environment = self._open_environment()
        if file_key(environment.path) != environment.key:
            with self._writing:
                self._follow_file()
        return self.last_seq

    def readers(self) -> str:
        """LMDB's table of read transactions under way, of all processes, for people."""
        environment = self._open_environment()
        environment.clear_stale_readers()
        return environment.readers()

    def _follow_file(self) -> None:
        """Use the file that now has the store's name; reads in flight end on the old one."""
        old = self._open_environment()
        if file_key(old.path) != old.key:
            self._environment = files.open_file(self.path, map_size=self._map_size)
            old.release()

    def close(self) -> None:
        """Release the store."""
        with self._writing:
            environment, self._environment = self._environment, None
            if environment is not None:
                environment.release()
            if self._lock is not None:
                self._lock.release()
