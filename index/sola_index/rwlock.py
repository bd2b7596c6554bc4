"""A lock that many readers or one writer hold; a waiting writer goes before new readers."""

import threading


class ReadWriteLock:
    """Guards a structure that cannot be read while it is written; neither side may be entered twice by one thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.readers = 0
        self.writers_waiting = 0
        self.written = False
        self.reading = _Reading(self)
        """Hold the lock together with other readers: ``with lock.reading:``."""
        self.writing = _Writing(self)
        """Hold the lock alone: ``with lock.writing:``."""


class _Reading:
    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        lock = self._lock
        with lock.changed:
            while lock.written or lock.writers_waiting:
                lock.changed.wait()
            lock.readers += 1

    def __exit__(self, *_: object) -> None:
        lock = self._lock
        with lock.changed:
            lock.readers -= 1
            if not lock.readers and lock.writers_waiting:
                lock.changed.notify_all()


class _Writing:
    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        lock = self._lock
        with lock.changed:
            lock.writers_waiting += 1
            while lock.written or lock.readers:
                lock.changed.wait()
            lock.writers_waiting -= 1
            lock.written = True

    def __exit__(self, *_: object) -> None:
        lock = self._lock
        with lock.changed:
            lock.written = False
            lock.changed.notify_all()
