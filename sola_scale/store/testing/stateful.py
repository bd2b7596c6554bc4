"""A state machine that drives a store and its in-memory twin side by side; they must never be told apart."""

from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from sola_scale.errors import SolaError
from sola_scale.store.changes import Transition
from sola_scale.store.contract import Store
from sola_scale.store.memory import MemoryStore
from sola_scale.store.records import EditFilter, EditStatus, KeyRows, Operation
from sola_scale.store.testing.samples import (
    Clock,
    active,
    follow,
    plain,
    sample_edit,
    sample_keys,
    sample_manifest,
    state_of,
)

some_ids = st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=5)


class StoreMachine(RuleBasedStateMachine):
    """Subclass it and give `new_store` and, for a durable store, `reopened` and `crashed`."""

    edits = Bundle("edits")

    def new_store(self, clock: Clock) -> Store:
        """A fresh store with the sample manifest."""
        raise NotImplementedError

    def reopened(self, store: Store, clock: Clock) -> Store:
        """The store after closing and opening; a volatile one stays."""
        raise NotImplementedError

    def crashed(self, store: Store, clock: Clock) -> Store:
        """The store after its process died without closing, or in the middle of a write."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        """Two fresh stores and an index that follows."""
        self.clocks = Clock(), Clock()
        self.store = self.new_store(self.clocks[0])
        self.twin: Store = MemoryStore(sample_manifest(), clock=self.clocks[1])
        self.held: dict[int, tuple[int, bytes]] = {}
        self.numbers = iter(range(1, 1 << 30))

    def rehearsed(self, operation: Operation, ids: list[int]) -> None:
        """What a verb would do is what the twin says it would, and is not done."""
        told = [self._outcome(store, "rehearse", (operation, ids)) for store in (self.store, self.twin)]
        seen = [plain(one) if isinstance(one, Transition) else one for one in told]
        assert seen[0] == seen[1], f"rehearsing {operation}{ids}: {seen[0]} is not {seen[1]}"
        self.clocks[0].now = self.clocks[1].now = max(clock.now for clock in self.clocks)

    def both(self, verb: str, *arguments: Any) -> None:
        """Do the same to both; they answer alike, or raise the same error and change nothing."""
        outcomes = [self._outcome(store, verb, arguments) for store in (self.store, self.twin)]
        seen = [plain(outcome) if isinstance(outcome, Transition) else outcome for outcome in outcomes]
        assert seen[0] == seen[1], f"{verb}{arguments}: {seen[0]} is not {seen[1]}"
        # A refused verb may have looked at one clock only.
        self.clocks[0].now = self.clocks[1].now = max(clock.now for clock in self.clocks)
        if isinstance(outcomes[0], Transition):
            self._follow(outcomes[0])

    @staticmethod
    def _outcome(store: Store, verb: str, arguments: tuple[Any, ...]) -> object:
        try:
            return getattr(store, verb)(*arguments)
        except SolaError as error:
            return type(error)

    def _follow(self, transition: Transition) -> None:
        if transition.rebuild:
            self.held = active(self.store)
        else:
            follow(self.held, [transition])

    @rule(target=edits, count=st.integers(1, 5), rows=st.integers(1, 3))
    def write(self, count: int, rows: int) -> int:
        """Write new edits."""
        calibration = self.twin.calibration or 0
        numbers = [next(self.numbers) for _ in range(count)]
        first = self.twin.next_edit_id
        self.both("write", [sample_edit(n, rows=rows, calibration=calibration) for n in numbers])
        return first

    @rule(target=edits, older=edits, depth=st.integers(1, 3))
    def supersede(self, older: int, depth: int) -> int:
        """Write edits each of which supersedes the one before."""
        first = self.twin.next_edit_id
        calibration = self.twin.calibration or 0
        chain = [older, *range(first, first + depth - 1)]
        edits = [sample_edit(next(self.numbers), supersedes=e, calibration=calibration) for e in chain]
        self.both("write", edits)
        return first

    @rule(ids=some_ids)
    def revoke(self, ids: list[int]) -> None:
        """Revoke known and perhaps unknown edits."""
        self.both("revoke", ids)

    @rule(edit=edits)
    def revoke_one(self, edit: int) -> None:
        """Revoke a known edit."""
        self.both("revoke", [edit])

    @rule(edit=edits)
    def restore_one(self, edit: int) -> None:
        """Restore a known edit, whatever it is."""
        self.both("restore", [edit])

    @rule(ids=some_ids)
    def restore(self, ids: list[int]) -> None:
        """Restore known and perhaps unknown edits."""
        self.both("restore", ids)

    @rule(
        operation=st.sampled_from([Operation.REVOKE, Operation.RESTORE, Operation.PURGE]),
        ids=some_ids,
    )
    def rehearse(self, operation: Operation, ids: list[int]) -> None:
        """Try a verb without doing it."""
        self.rehearsed(operation, ids)

    @rule(edit=consumes(edits))
    def purge(self, edit: int) -> None:
        """Purge a known edit."""
        self.both("purge", [edit])

    @rule(edit=edits)
    def quarantine(self, edit: int) -> None:
        """Quarantine a known edit."""
        self.both("quarantine", [edit], "by chance")

    @rule(rows=st.integers(1, 2), forget=st.booleans())
    def recalibrate(self, rows: int, forget: bool) -> None:
        """Exchange all keys, or fail to because one is forgotten."""
        calibration = (self.twin.calibration or 0) + 1
        records = self.twin.records()
        given = self._rows([r.id for r in records if r.status is not EditStatus.PURGED], calibration, rows)
        self.both("recalibrate", calibration, given[1:] if forget else given)

    @staticmethod
    def _rows(ids: Iterable[int], calibration: int, rows: int) -> list[tuple[int, KeyRows]]:
        return [(edit_id, sample_keys(100 * calibration + edit_id, rows)) for edit_id in ids]

    @rule(before=st.integers(0, 30))
    def truncate_log(self, before: int) -> None:
        """Truncate the log."""
        self.both("truncate_log", before)

    @rule(name=st.sampled_from(["a", "b", ""]), data=st.none() | st.binary(max_size=20))
    def put_blob(self, name: str, data: bytes | None) -> None:
        """Store or delete a blob and a setting."""
        self.both("put_blobs", {name: data})
        self.both("put_settings", {name: None if data is None else len(data)})

    @rule()
    def compact(self) -> None:
        """Compact the store; nothing to be seen of it."""
        self.store.compact()

    @rule()
    def reopen(self) -> None:
        """Close and open the store; nothing to be seen of it."""
        self.store = self.reopened(self.store, self.clocks[0])

    @rule()
    def crash(self) -> None:
        """Lose the process; nothing acknowledged is lost."""
        self.store = self.crashed(self.store, self.clocks[0])

    @rule(tag=st.sampled_from(["even", "odd"]), status=st.sampled_from(list(EditStatus)))
    def list_some(self, tag: str, status: EditStatus) -> None:
        """Filtered listings agree."""
        where = EditFilter(tags=(tag,), status=(status,), after_id=3, limit=4)
        assert list(self.store.records(where)) == list(self.twin.records(where))

    @invariant()
    def cannot_be_told_apart(self) -> None:
        """Everything to be seen of the two stores is the same, and the index that followed is right."""
        if hasattr(self, "store"):
            assert state_of(self.store) == state_of(self.twin)
            assert self.held == active(self.store)

    def teardown(self) -> None:
        """The store is sound in the end."""
        if hasattr(self, "store"):
            assert self.store.verify().damages == []
            self.store.close()
