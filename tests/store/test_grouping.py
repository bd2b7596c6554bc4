"""Group commit: threads that write at once share a transaction, and each gets its own result or its own error."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sola_scale.errors import StoreFullError, UnknownEditError
from sola_scale.store import EditStatus, LmdbStore
from sola_scale.store.grouping import GroupCommit
from sola_scale.store.testing import sample_edit, sample_manifest

PATIENCE = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    with LmdbStore.create(tmp_path / "store", sample_manifest()) as made:
        made.write([sample_edit(number) for number in range(1, 11)])
        yield made


def together(group: GroupCommit, turn: Any, calls: list[Callable[[], Any]]) -> list[Future[Any]]:
    """Start each call in a thread of its own, and let none of them have its turn before all of them wait for it."""
    with ThreadPoolExecutor(len(calls)) as threads:
        with turn:
            futures = [threads.submit(call) for call in calls]
            wait_for(group, len(calls))
        return futures


def wait_for(group: GroupCommit, count: int) -> None:
    """Until so many threads wait for their turn."""
    deadline = time.monotonic() + PATIENCE
    while len(group._waiting) < count:
        assert time.monotonic() < deadline, "the threads did not come to wait"
        time.sleep(0.001)


def commits(store: LmdbStore) -> int:
    return store._open_environment()._lmdb.info()["last_txnid"]


def test_waiting_threads_share_one_commit(store: LmdbStore) -> None:
    """Eight threads that revoke and write while another one writes need one transaction, and each gets its own answer."""
    before, seq = commits(store), store.last_seq
    calls: list[Callable[[], Any]] = [lambda n=n: store.revoke([n]) for n in range(1, 8)]
    calls.append(lambda: store.write([sample_edit(11), sample_edit(12)]))
    found = [future.result() for future in together(store._group, store._writing, calls)]
    assert commits(store) == before + 1
    assert [one.edit_ids for one in found] == [*((n,) for n in range(1, 8)), (11, 12)]
    assert sorted(one.last_seq for one in found) == list(range(seq + 1, seq + 9))
    assert [entry.seq for entry in store.log(seq)] == list(range(seq + 1, seq + 9))
    assert store.verify().ok


def test_one_that_fails_fails_alone(store: LmdbStore) -> None:
    """An unknown edit fails the thread that named it, whatever it had done before; the rest of the group is durable."""
    seq = store.last_seq
    superseding = [sample_edit(11), sample_edit(12, supersedes=99)]
    calls = [lambda: store.revoke([1]), lambda: store.write(superseding), lambda: store.revoke([2])]
    futures = together(store._group, store._writing, calls)
    assert isinstance(futures[1].exception(), UnknownEditError)
    assert {futures[0].result().last_seq, futures[2].result().last_seq} == {seq + 1, seq + 2}
    assert store.next_edit_id == 11
    statuses = [store.record(edit_id).status for edit_id in (1, 2, 3)]
    assert statuses == [EditStatus.REVOKED, EditStatus.REVOKED, EditStatus.LIVE]
    assert store.verify().ok


class Transactions:
    """Transactions over nothing, counted; those of more work than `room` cannot be committed."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.committed: list[list[int]] = []

    @contextmanager
    def begin(self) -> Iterator[Any]:
        work: list[int] = []
        yield work
        if len(work) > self.room:
            raise StoreFullError("no space left")
        self.committed.append(work)


def test_what_cannot_be_committed_together_is_committed_alone() -> None:
    """A shared transaction that is too large is nobody's error: each has one of his own, or his own error."""
    turn, transactions = threading.RLock(), Transactions(room=1)
    group = GroupCommit(turn, transactions.begin)
    calls = [lambda n=n: group.run(lambda txn: txn.extend([n] * n)) for n in (1, 2, 1)]
    futures = together(group, turn, calls)
    assert [type(future.exception()) for future in futures] == [type(None), StoreFullError, type(None)]
    assert transactions.committed == [[1], [1]]


def test_an_interrupted_leader_leaves_the_others_their_turn() -> None:
    """What interrupts the thread that leads is not the others' affair: their work is done without it, and once."""
    turn, transactions = threading.RLock(), Transactions(room=9)
    group = GroupCommit(turn, transactions.begin)

    def interrupted(_txn: Any) -> int:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(3) as threads:
        with turn:
            leader = threads.submit(group.run, interrupted)
            wait_for(group, 1)
            others = [threads.submit(group.run, lambda txn, n=n: txn.append(n)) for n in (1, 2)]
            wait_for(group, 3)
        assert isinstance(leader.exception(), KeyboardInterrupt)
        for future in others:
            future.result()
    assert sorted(n for work in transactions.committed for n in work) == [1, 2]


def test_threads_that_do_everything_at_once_leave_a_sound_store(store: LmdbStore) -> None:
    """Writing, revoking, restoring and purging from eight threads loses no acknowledged change and damages nothing."""

    def work(seed: int) -> tuple[list[int], int]:
        written: list[int] = []
        for number in range(12):
            written += store.write([sample_edit(100 * seed + number)]).edit_ids
            if number % 3 == 2:
                store.revoke(written[-2:])
                store.restore(written[-1:])
        store.purge(written[:1])
        return written, seed

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(work, range(1, 9)))
    written = [edit_id for ids, _ in found for edit_id in ids]
    assert sorted(written) == list(range(11, 11 + 96))
    for ids, seed in found:
        statuses = [store.record(edit_id).status for edit_id in ids]
        expected = [EditStatus.REVOKED if n % 3 == 1 else EditStatus.LIVE for n in range(12)]
        assert statuses == [EditStatus.PURGED, *expected[1:]]
        assert store.record(ids[1]).prompt == sample_edit(100 * seed + 1).prompt
    assert store.verify().damages == []
