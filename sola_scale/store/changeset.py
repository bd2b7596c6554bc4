"""One transaction in the making: the states it changes, the keys it gives and takes, the log entry it leaves."""

from collections.abc import Iterable

import msgspec

from sola_scale.errors import CorruptRecordError
from sola_scale.store.bookkeeping import (
    State,
    pack_owner,
    pack_state,
    read_counters,
    read_state,
    write_counters,
)
from sola_scale.store.changes import KeySpan, LogEntry
from sola_scale.store.records import EditStatus, Event, Operation
from sola_scale.store.stored import check_intact, write_event
from sola_scale.store.tables import Table
from sola_scale.store.transaction import WriteTransaction, ids_below
from sola_scale.store.values import pack_id, pack_range


class Changeset:
    """Gathers what one verb does; `finish` writes states, counters and the log entry."""

    def __init__(self, txn: WriteTransaction, operation: Operation, at: int) -> None:
        self.txn = txn
        self.operation = operation
        self.at = at
        self.counters = read_counters(txn)
        self.seq = self.counters.last_seq + 1
        self.edit_ids: dict[int, None] = {}
        self._alone: dict[int, int] = {}
        self._first_new = self.counters.next_edit
        self._states: dict[int, State] = {}
        self._deactivated: list[KeySpan] = []
        self._activated: list[KeySpan] = []
        self._owners: list[bytes] = []
        self._first_key = self.counters.next_key

    def state(self, edit_id: int) -> State:
        """The state of an edit as it stands in this transaction; raises UnknownEditError."""
        rows = self._alone.get(edit_id)
        if rows is not None:
            return State(EditStatus.SUPERSEDED, rows, 0, edit_id)
        return self._states.get(edit_id) or read_state(self.txn, edit_id)

    def add(self, rows: int, chain: int | None) -> int:
        """Register a new edit in a chain or on its own, not yet live; returns its id."""
        edit_id = self.counters.next_edit
        self.counters.next_edit += 1
        self.edit_ids[edit_id] = None
        if chain is None:
            # Most edits are: until they are settled, how many keys they have is all there is to say of them.
            self._alone[edit_id] = rows
        else:
            self._states[edit_id] = State(EditStatus.SUPERSEDED, rows, 0, chain)
            self._join(chain, edit_id)
        return edit_id

    def mark(self, edit_id: int, status: EditStatus, note: str = "") -> None:
        """Give an edit another status on request, dropping its keys; settle its chain afterwards."""
        self.edit_ids[edit_id] = None
        self._deactivate(edit_id)
        self._states[edit_id] = self.state(edit_id)._replace(status=status)
        self.note(edit_id, self.operation, note)

    def settle(self, chains: Iterable[int]) -> None:
        """Let the newest eligible edit of each chain be live and its other eligible ones superseded."""
        for chain in dict.fromkeys(chains):
            rows = self._alone.pop(chain, None)
            if rows is not None:
                self._activate(chain, rows, chain)
                continue
            eligible = [edit_id for edit_id in self._members(chain) if self.state(edit_id).status.eligible]
            while eligible and not self._fit(eligible[-1]):
                self._quarantine(eligible.pop())
            for edit_id in eligible[:-1]:
                self._supersede(edit_id, eligible[-1])
            if eligible:
                self._resume(eligible[-1])

    def note(self, edit_id: int, operation: Operation, note: str = "") -> None:
        """Add to an edit's history."""
        write_event(self.txn, edit_id, Event(self.seq, self.at, operation, note))

    def finish(self) -> LogEntry | None:
        """Write all that was gathered; None when nothing changed."""
        if not self.edit_ids:
            return None
        self._put_states()
        # Key ids only grow, so that all new keys lie beyond the old ones; none of them is taken out again here.
        self.txn.append_all(Table.KEYS, pack_range(self._first_key, len(self._owners)), self._owners)
        self.counters.next_key += len(self._owners)
        self.counters.last_seq = self.seq
        write_counters(self.txn, self.counters)
        lists = tuple(self.edit_ids), tuple(self._deactivated), tuple(self._activated)
        entry = LogEntry(self.seq, self.at, self.operation, *lists)
        self.txn.append(Table.LOG, pack_id(self.seq), msgspec.msgpack.encode(entry))
        return entry

    def _put_states(self) -> None:
        new = range(self._first_new, self.counters.next_edit)
        self.txn.append_all(
            Table.STATES,
            pack_range(new.start, len(new)),
            [pack_state(self._states[edit_id]) for edit_id in new],
        )
        for edit_id in sorted(self._states):
            if edit_id < self._first_new:
                self.txn.put(Table.STATES, pack_id(edit_id), pack_state(self._states[edit_id]))

    def _members(self, chain: int) -> list[int]:
        return ids_below(self.txn, Table.CHAINS, pack_id(chain)) or [chain]

    def _join(self, chain: int, edit_id: int) -> None:
        rows = self._alone.pop(chain, None)
        if rows is not None:
            self._states[chain] = State(EditStatus.SUPERSEDED, rows, 0, chain)
        for member in (chain, edit_id):
            self.txn.put(Table.CHAINS, pack_id(chain) + pack_id(member), b"")

    def _fit(self, edit_id: int) -> bool:
        """Whether an edit may go live: a damaged predecessor must not."""
        if edit_id >= self._first_new or self.state(edit_id).first_key:
            return True
        try:
            check_intact(self.txn, edit_id, self.counters.generation)
        except CorruptRecordError:
            return False
        return True

    def _quarantine(self, edit_id: int) -> None:
        self._states[edit_id] = self.state(edit_id)._replace(status=EditStatus.QUARANTINED)
        self.note(edit_id, Operation.QUARANTINE, "damaged on disk")

    def _supersede(self, edit_id: int, by: int) -> None:
        if self.state(edit_id).first_key:
            self.note(edit_id, Operation.SUPERSEDE, str(by))
            self._deactivate(edit_id)
            self._states[edit_id] = self.state(edit_id)._replace(status=EditStatus.SUPERSEDED)

    def _resume(self, edit_id: int) -> None:
        state = self.state(edit_id)
        if not state.first_key:
            if edit_id not in self.edit_ids:
                self.note(edit_id, Operation.RESUME)
            self._activate(edit_id, state.rows, state.chain)

    def _activate(self, edit_id: int, rows: int, chain: int) -> None:
        first = self._first_key + len(self._owners)
        self._owners += [pack_owner(edit_id, row) for row in range(rows)]
        self._states[edit_id] = State(EditStatus.LIVE, rows, first, chain)
        self._activated.append(KeySpan(edit_id, first, rows))

    def _deactivate(self, edit_id: int) -> None:
        state = self.state(edit_id)
        if not state.first_key:
            return
        for row in range(state.rows):
            self.txn.delete(Table.KEYS, pack_id(state.first_key + row))
        self._states[edit_id] = state._replace(first_key=0)
        self._deactivated.append(KeySpan(edit_id, state.first_key, state.rows))
