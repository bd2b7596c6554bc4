"""Group commit: threads that write at the same time share one transaction, and so one flush to the disk."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeAlias, TypeVar, cast

from sola_scale.store.transaction import WriteTransaction

T = TypeVar("T")
Transaction: TypeAlias = AbstractContextManager[WriteTransaction]


class _Ticket(Generic[T]):
    """What one thread wants done in a transaction, and what came of it."""

    def __init__(self, work: Callable[[WriteTransaction], T]) -> None:
        self.work = work
        self.settled = False
        self.value: T | None = None
        self.error: Exception | None = None


class GroupCommit:
    """Runs the work of all threads that wait for their turn in the transaction of the one whose turn it is.

    Whoever comes while nobody writes has a transaction of its own at once; nobody waits for company.
    """

    def __init__(
        self,
        turn: AbstractContextManager[object],
        begin: Callable[[], Transaction],
        nest: Callable[[WriteTransaction], Transaction],
    ) -> None:
        """Take turns by the lock ``turn``, in transactions that ``begin`` opens and ``nest`` opens within one."""
        self._turn = turn
        self._begin = begin
        self._nest = nest
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[Any]] = []

    def run(self, work: Callable[[WriteTransaction], T]) -> T:
        """Do ``work`` in a transaction; returns, or raises what it raised, once that is durable.

        An error undoes the work that raised it and nothing of the others'; if the transaction cannot be committed,
        nothing of anybody's has happened, and everybody is told so.
        """
        ticket = _Ticket(work)
        with self._lock:
            self._waiting.append(ticket)
        with self._turn:
            if not ticket.settled:
                self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return cast("T", ticket.value)

    def _lead(self, own: _Ticket[Any]) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        try:
            self._commit(group)
        except Exception as error:  # noqa: BLE001 (each thread raises it for itself)
            for ticket in group:
                ticket.error = error
        except BaseException:
            # This thread is being interrupted: the others are to have a turn of their own.
            with self._lock:
                self._waiting = [ticket for ticket in group if ticket is not own] + self._waiting
            for ticket in group:
                ticket.error = None
            raise
        for ticket in group:
            ticket.settled = True

    def _commit(self, group: list[_Ticket[Any]]) -> None:
        with self._begin() as txn:
            if len(group) == 1:
                group[0].value = group[0].work(txn)
                return
            for ticket in group:
                try:
                    with self._nest(txn) as inner:
                        ticket.value = ticket.work(inner)
                except Exception as error:  # noqa: BLE001 (raised again by the thread whose work it was)
                    ticket.error = error
