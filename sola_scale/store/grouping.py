"""Group commit: threads that write at the same time share one transaction, and so one flush to the disk."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar, cast

from sola_scale.store.transaction import WriteTransaction

T = TypeVar("T")


class _Ticket(Generic[T]):
    """What one thread wants done in a transaction, and what came of it."""

    def __init__(self, work: Callable[[WriteTransaction], T]) -> None:
        self.work = work
        self.settled = False
        self.value: T | None = None
        self.error: Exception | None = None


class GroupCommit:
    """Runs the work of all threads that wait for their turn in the transaction of the one whose turn it is.

    Whoever comes while nobody writes has a transaction of its own at once; nobody waits for company. Sharing is
    tried and nothing more: whatever goes wrong in a shared transaction undoes it, and each has one of its own.
    """

    def __init__(
        self,
        turn: AbstractContextManager[object],
        begin: Callable[[], AbstractContextManager[WriteTransaction]],
    ) -> None:
        """Take turns by the lock ``turn``, in transactions that ``begin`` opens."""
        self._turn = turn
        self._begin = begin
        self._state = threading.Condition()
        self._led = False
        self._waiting: list[_Ticket[Any]] = []

    def run(self, work: Callable[[WriteTransaction], T]) -> T:
        """Do ``work`` in a transaction; returns, or raises what it raised, once that is durable.

        Args:
            work: done once or, if sharing failed, twice, of which the first time is undone.
        """
        ticket = _Ticket(work)
        with self._state:
            self._waiting.append(ticket)
            try:
                # Whose work was done meanwhile goes on at once: it must not wait for the next one's flush.
                self._state.wait_for(lambda: ticket.settled or not self._led)
            except BaseException:
                self._withdraw(ticket)
                raise
            leads = not ticket.settled
            self._led = self._led or leads
        if leads:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return cast("T", ticket.value)

    def _lead(self, own: _Ticket[Any]) -> None:
        try:
            with self._turn:
                self._commit()
        finally:
            with self._state:
                # Interrupted: what its caller is not waiting for any more is not to be done by the next one.
                self._withdraw(own)
                self._led = False
                self._state.notify_all()

    def _withdraw(self, ticket: _Ticket[Any]) -> None:
        if ticket in self._waiting:
            self._waiting.remove(ticket)

    def _commit(self) -> None:
        with self._state:
            group, self._waiting = self._waiting, []
        try:
            if not self._together(group):
                for ticket in group:
                    self._alone(ticket)
        finally:
            # Where this thread was interrupted the others are to have a turn of their own.
            with self._state:
                self._waiting[:0] = [ticket for ticket in group if not ticket.settled]

    def _together(self, group: list[_Ticket[Any]]) -> bool:
        """Do everybody's work in one transaction; False, and nothing has happened, if anything went wrong."""
        if len(group) == 1:
            return False
        try:
            with self._begin() as txn:
                values = [ticket.work(txn) for ticket in group]
        except Exception:  # noqa: BLE001 (it comes again, to the thread whose work it is)
            return False
        for ticket, value in zip(group, values, strict=True):
            ticket.value, ticket.settled = value, True
        return True

    def _alone(self, ticket: _Ticket[Any]) -> None:
        try:
            with self._begin() as txn:
                ticket.value = ticket.work(txn)
        except Exception as error:  # noqa: BLE001 (raised by the thread whose work it is)
            ticket.error = error
        ticket.settled = True
