"""One open LMDB file: shared within the process, guarded against forks, its errors made ours."""

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb

from sola_scale.errors import (
    CorruptRecordError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
)
from sola_scale.store.tables import Table
from sola_scale.store.transaction import ReadTransaction, WriteTransaction

MAP_SIZE = 1 << 40
"""Bytes of address space, not of disk: the file is sparse, and growing a map under readers is a trap."""
MAX_READERS = 1024
"""Read transactions of all processes at one time."""

_PROBE = bytes(1 << 20)
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_DAMAGED = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.PanicError,
    lmdb.CursorFullError,
    # A table that every store has is missing.
    lmdb.NotFoundError,
    # Of a transaction that met damage: LMDB refuses all further use of it.
    lmdb.BadTxnError,
)

_shared: dict[tuple[int, int, int], "Environment"] = {}
_sharing = threading.RLock()


def _forget_after_fork() -> None:
    """Give a child a clean start: its parent's environments closed, and a lock that no lost thread can hold.

    Closing one ends its transactions, whose slots are the parent's; where one was under way at the fork the
    environment therefore stays, and the child cannot open that store.
    """
    global _sharing  # noqa: PLW0603 -- a lock cannot be freed by a child that does not own it
    _sharing = threading.RLock()
    for environment in _shared.values():
        environment.abandon()
    _shared.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


class Environment:
    """An LMDB environment with its table handles, counted by its users and closed after the last.

    LMDB must not be opened twice by one process, so stores of the same file share one; and its memory must not
    be unmapped under a reader, so a read counts as a user as well.
    """

    def __init__(self, path: Path, *, map_size: int, writable: bool, create: bool = False) -> None:
        self.path = path
        self.pid = os.getpid()
        self._uses = 1
        self._transactions = 0
        with translated(path):
            self._lmdb = lmdb.open(
                os.fspath(path),
                subdir=False,
                create=create,
                readonly=not writable,
                # Without write access there is no lock file to register readers in.
                lock=writable,
                map_size=map_size,
                max_dbs=len(Table) + 4,
                max_readers=MAX_READERS,
                readahead=_fits_memory(path),
                lib_version=0,
            )
            try:
                self._tables = {table: self._lmdb.open_db(table.encode(), create=create) for table in Table}
            except BaseException:
                self._lmdb.close()
                raise
        self.key = file_key(path)

    @classmethod
    def acquire(cls, path: Path, *, map_size: int = MAP_SIZE) -> "Environment":
        """The process's environment of the file at `path`, opened if it is not yet; `release` it after use."""
        with _sharing:
            found = _shared.get(file_key(path))
            if found is not None:
                found.retain()
                return found
            writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
            opened = cls(path, map_size=map_size, writable=writable)
            _shared[opened.key] = opened
            return opened

    def read(self) -> "ReadScope":
        """A read transaction: one unchanging state of the store; never keep one."""
        return ReadScope(self)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """The write transaction: durable when the block ends, undone when it raises."""
        self.retain(transactions=1)
        try:
            with translated(self.path), self._lmdb.begin(write=True, buffers=True) as txn:
                yield WriteTransaction(txn, self._tables)
        finally:
            self.release(transactions=1)

    def begin_read(self) -> tuple[Any, ReadTransaction]:
        """LMDB's read transaction and ours over it; the caller has retained the environment."""
        txn = self._lmdb.begin(buffers=True)
        return txn, ReadTransaction(txn, self._tables)

    def retain(self, transactions: int = 0) -> None:
        """Count one more user; refused after a fork and after the last release."""
        if self.pid != os.getpid():
            raise StoreClosedError("this store was opened before a fork: open it again in the child process")
        with _sharing:
            if not self._uses:
                raise StoreClosedError("the store is closed")
            self._uses += 1
            self._transactions += transactions

    def release(self, transactions: int = 0) -> None:
        """Count one user less, and close after the last."""
        with _sharing:
            self._uses -= 1
            self._transactions -= transactions
            if not self._uses and self.pid == os.getpid():
                self._lmdb.close()
                _shared.pop(self.key, None)

    def abandon(self) -> None:
        """Close what a child inherited, if that touches nothing of its parent's."""
        if not self._transactions:
            self._lmdb.close()

    def clear_stale_readers(self) -> int:
        """Free the slots of readers whose processes died; returns how many."""
        return self._lmdb.reader_check()

    def readers(self) -> str:
        """LMDB's table of readers, for people."""
        return self._lmdb.readers()


class ReadScope:
    """A `with` block around a read transaction that begins when this is made.

    A class and not a generator, as one is entered for every route and every page-in.
    """

    __slots__ = ("_environment", "_transaction", "_txn")

    def __init__(self, environment: Environment) -> None:
        environment.retain(transactions=1)
        self._environment = environment
        try:
            self._txn, self._transaction = environment.begin_read()
        except BaseException:
            environment.release(transactions=1)
            with translated(environment.path):
                raise

    def __enter__(self) -> ReadTransaction:
        return self._transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._txn.abort()
        self._environment.release(transactions=1)
        if isinstance(error, lmdb.Error):
            with translated(self._environment.path):
                raise error


def _fits_memory(path: Path) -> bool:
    """Whether reading ahead helps: it warms a file that fits into memory, and evicts useful pages of one that does not."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return not path.exists() or path.stat().st_size < memory // 2


def file_key(path: Path) -> tuple[int, int, int]:
    """What tells one open file of this process from another: after a compaction the same path is another file."""
    try:
        stat = path.stat()
    except FileNotFoundError as error:
        raise StoreClosedError(f"{path} is gone") from error
    return os.getpid(), stat.st_dev, stat.st_ino


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise LMDB's errors as ours.

    Raises:
        StoreFullError: The map or the disk is full.
        StoreReadOnlyError: The file cannot be written.
        CorruptRecordError: LMDB found its own pages inconsistent.
        StoreError: Anything else.
    """
    try:
        yield
    except lmdb.MapFullError as error:
        raise StoreFullError(f"the map of {path} is full: open the store with a larger `map_size`") from error
    except lmdb.ReadonlyError as error:
        raise StoreReadOnlyError(f"{path} cannot be written") from error
    except _DAMAGED as error:
        raise CorruptRecordError(f"{path} is damaged or not a store: {error}") from error
    except lmdb.Error as error:
        code = getattr(error, "code", None)
        # LMDB reports a write that was cut short as EIO, whatever cut it short.
        if (
            code in _FULL
            or isinstance(error, lmdb.DiskError)
            or (code == errno.EIO and _no_room(path.parent))
        ):
            raise StoreFullError(f"no space left for {path}; nothing was written") from error
        raise StoreError(f"{path}: {error}") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFullError(f"no space left for {path}; nothing was written") from error
        raise


def _no_room(folder: Path) -> bool:
    """Whether a mebibyte cannot be written to a folder for want of space."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            left = len(_PROBE)
            while left:
                left -= probe.write(_PROBE[:left]) or 0
    except OSError as error:
        return error.errno in _FULL
    return False
