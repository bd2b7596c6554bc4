"""The LMDB store: one folder, one file, one writer, any number of readers; the writing half."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from sola_scale.errors import CorruptRecordError, EditStateError, StoreLockedError, StoreReadOnlyError
from sola_scale.store import files, queries, recalibration, rewrite, shelf, verbs
from sola_scale.store.admission import admit
from sola_scale.store.audit import Audit, check_structure
from sola_scale.store.bookkeeping import read_counters
from sola_scale.store.changes import Transition, no_keys
from sola_scale.store.environment import MAP_SIZE, Environment, file_key
from sola_scale.store.grouping import GroupCommit
from sola_scale.store.lmdb_reader import LmdbReader
from sola_scale.store.locks import WriterLock
from sola_scale.store.records import KeyRows, NewEdit, Operation, StoreManifest
from sola_scale.store.repair import repair as mend
from sola_scale.store.reports import Damage, VerifyReport
from sola_scale.store.transaction import ReadTransaction, WriteTransaction

Clock = Callable[[], int]


class _Rehearsed(Exception):  # noqa: N818 (nothing is wrong: it ends a transaction without keeping it)
    """Raised to undo a transaction."""


class LmdbStore(LmdbReader):
    """A store in a folder; made by `create` or `open`, never by its constructor."""

    def __init__(
        self, folder: Path, environment: Environment, lock: WriterLock | None, map_size: int, clock: Clock
    ) -> None:
        super().__init__(folder, environment)
        self._lock = lock
        self._map_size = map_size
        self._clock = clock
        self._writing = threading.RLock()
        self._group = GroupCommit(self._writing, self._write)
        self._recalibrating = threading.Lock()

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

    @property
    def read_only(self) -> bool:
        """Whether this object cannot write."""
        return self._lock is None

    @contextmanager
    def _write(self) -> Iterator[WriteTransaction]:
        with self._writing:
            environment = self._open_environment()
            if self._lock is None:
                raise StoreReadOnlyError(f"the store {self.path} is open for reading only")
            with environment.write() as txn:
                yield txn

    def write(self, edits: Sequence[NewEdit]) -> Transition:
        """Store edits in one transaction."""
        layout = verbs.check_batch(edits) if edits else None

        def work(txn: WriteTransaction) -> Transition:
            entry = verbs.write_edits(txn, edits, layout, self._clock()) if layout else None
            if entry is None:
                return self._unchanged(txn, Operation.WRITE)
            rows = dict(zip(entry.edit_ids, (edit.keys.retrieval for edit in edits), strict=True))
            return queries.transition_of(txn, entry, rows)

        return self._group.run(work)

    def revoke(self, ids: Iterable[int]) -> Transition:
        """Stop edits, reversibly."""
        return self._change(Operation.REVOKE, ids)

    def restore(self, ids: Iterable[int]) -> Transition:
        """Undo `revoke` and `quarantine`."""
        return self._change(Operation.RESTORE, ids)

    def purge(self, ids: Iterable[int]) -> Transition:
        """Erase edits for good."""
        # Alone in its transaction: a segment that another one has just written must not be shortened there.
        with self._write() as txn:
            return self._changed(txn, Operation.PURGE, ids)

    def quarantine(self, ids: Iterable[int], reason: str) -> Transition:
        """Stop damaged edits."""
        return self._change(Operation.QUARANTINE, ids, reason)

    def rehearse(self, operation: Operation, ids: Iterable[int]) -> Transition:
        """What a verb would do."""
        with suppress(_Rehearsed), self._write() as txn:
            transition = self._changed(txn, operation, ids)
            raise _Rehearsed
        return transition

    def _change(self, operation: Operation, ids: Iterable[int], note: str = "") -> Transition:
        named = list(ids)
        return self._group.run(lambda txn: self._changed(txn, operation, named, note))

    def _changed(
        self, txn: WriteTransaction, operation: Operation, ids: Iterable[int], note: str = ""
    ) -> Transition:
        entry = verbs.change_status(txn, operation, ids, self._clock(), note)
        return queries.transition_of(txn, entry) if entry else self._unchanged(txn, operation)

    @staticmethod
    def _unchanged(txn: ReadTransaction, operation: Operation) -> Transition:
        return Transition(operation=operation, deactivated=no_keys(), last_seq=read_counters(txn).last_seq)

    def recalibrate(
        self, calibration: int, rows: Iterable[tuple[int, KeyRows]], blobs: Mapping[str, bytes] | None = None
    ) -> Transition:
        """Exchange the keys of all edits."""
        if not self._recalibrating.acquire(blocking=False):
            raise EditStateError("another recalibration of this store is under way")
        try:
            layout = recalibration.stage(self._write, calibration, rows)
            with self._write() as txn:
                shelf.put_blobs(txn, blobs or {})
                entry = recalibration.switch(txn, layout, self._clock())
                return queries.transition_of(txn, entry)
        finally:
            self._recalibrating.release()

    def truncate_log(self, before: int) -> int:
        """Forget log entries below `before`."""
        with self._write() as txn:
            return shelf.truncate_log(txn, before)

    def put_blobs(self, blobs: Mapping[str, bytes | None]) -> None:
        """Store named byte strings."""
        with self._write() as txn:
            shelf.put_blobs(txn, blobs)

    def put_settings(self, settings: Mapping[str, Any]) -> None:
        """Change settings."""
        with self._write() as txn:
            shelf.put_settings(txn, settings)

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check everything; with `repair`, quarantine the damaged edits.

        LMDB's own pages are looked over as well, unless another process may be writing them.
        """
        with self._writing, self._at_rest() as at_rest:
            report = self._audit()
            if at_rest:
                report.damages[:0] = check_structure(self.path / files.FILE_NAME)
            # Writing through pages that contradict one another could spread the damage.
            if not repair or not report.damages or any(damage.table == "file" for damage in report.damages):
                return report
            with self._write() as writing:
                return mend(writing, report, self._clock())

    @contextmanager
    def _at_rest(self) -> Iterator[bool]:
        """Keep other writers away for a while, if none is there; yields whether that was possible."""
        if self._lock is not None:
            yield True
            return
        try:
            lock = WriterLock(self.path)
        except (StoreLockedError, StoreReadOnlyError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

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
