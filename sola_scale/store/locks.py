"""The two file locks: one writer per store, and no opening while a compaction exchanges the file."""

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from sola_scale.errors import StoreLockedError, StoreReadOnlyError

LOCK_NAME = "writer.lock"


class WriterLock:
    """The right to write, held through a file lock that ends with this object, or with the process."""

    def __init__(self, folder: Path) -> None:
        self._pid = os.getpid()
        try:
            handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            # A file object, which is closed even if a store is forgotten and collected.
            self._file = os.fdopen(handle, "r+b", buffering=0)
        except OSError as error:
            raise StoreReadOnlyError(
                f"{folder} cannot be written: open the store with read_only=True"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = self._holder()
            self._file.close()
            raise StoreLockedError(
                f"{folder} is being written by {holder}; open it with read_only=True"
            ) from error
        self._sign()
        _held.add(self)

    def release(self) -> None:
        """Let others write."""
        if not self._file.closed and self._pid == os.getpid():
            self._file.truncate(0)
            # Not left to closing: a child forked a moment ago may still have the file open.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.drop()

    def drop(self) -> None:
        """Close the file; in a forked child this leaves the lock with the parent."""
        self._file.close()

    def _sign(self) -> None:
        command = " ".join(sys.argv)[:200] or sys.executable
        signature = {"pid": os.getpid(), "host": socket.gethostname(), "command": command}
        self._file.truncate(0)
        self._file.write(json.dumps(signature).encode())

    def _holder(self) -> str:
        try:
            told = json.loads(self._file.read(4096))
            return f"process {told['pid']} on {told['host']} ({told['command']})"
        except (ValueError, KeyError, TypeError):
            return "another process"


_held: "WeakSet[WriterLock]" = WeakSet()


def _drop_after_fork() -> None:
    """A child would hold its parent's locks on after the parent's death."""
    for lock in list(_held):
        lock.drop()


os.register_at_fork(after_in_child=_drop_after_fork)


@contextmanager
def folder_lock(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock on the folder itself: shared to open its file, exclusive to exchange it."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
