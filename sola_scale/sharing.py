"""A lock that many may share or one may hold alone, waited for in the order of asking."""

import contextlib
import threading
from collections.abc import Iterator


class SharedLock:
    """Held alone with ``with lock:``, which nests in one thread; held beside others with ``with lock.shared():``.

    Who waits to hold it alone keeps later ones from sharing it, so that a steady stream of them cannot starve him.
    The thread that holds it alone may share it as well.
    """

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._owner: int | None = None
        self._depth = 0
        self._sharing = 0
        self._waiting = 0

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._state:
            if self._owner != me:
                self._waiting += 1
                try:
                    self._state.wait_for(lambda: self._owner is None and not self._sharing)
                finally:
                    self._waiting -= 1
                self._owner = me
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._state:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._state.notify_all()

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock beside others who share it; must not nest, and the lock must not be taken alone inside."""
        mine = self._owner == threading.get_ident()
        with self._state:
            if not mine:
                self._state.wait_for(lambda: self._owner is None and not self._waiting)
            self._sharing += not mine
        try:
            yield
        finally:
            with self._state:
                self._sharing -= not mine
                if not self._sharing:
                    self._state.notify_all()
