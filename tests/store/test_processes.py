"""Several processes on one store: one writer, many readers, forks, compaction under readers."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sola_scale.errors import EditStateError, StoreClosedError, StoreLockedError, StoreReadOnlyError
from sola_scale.store import KeyRows, LmdbStore
from sola_scale.store.testing import sample_edit, sample_keys
from sola_scale.store.testing.samples import active, follow, sample_weights, state_of

ROOT = Path(__file__).parents[2]

FOLLOWER = """
import json, sys
from sola_scale.store import KeyRows, LmdbStore
store = LmdbStore.open(sys.argv[1], read_only=True)
for line in sys.stdin:
    answer = {"seq": store.refresh() if line.strip() == "refresh" else store.last_seq}
    answer["statuses"] = {record.id: record.status for record in store.records()}
    print(json.dumps(answer), flush=True)
"""


class Follower:
    """Another process that reads the store and answers each line with what it sees."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FOLLOWER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def ask(self, line: str = "look") -> dict[str, Any]:
        """What the process sees now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture
def follower(store: LmdbStore) -> Iterator[Follower]:
    """A reader in another process."""
    follower = Follower(store.path)
    yield follower
    with follower.process as process:
        process.kill()


def test_second_writer_is_told_who_holds_the_store(store: LmdbStore) -> None:
    """A second writer is refused, with process, host and command of the first; readers are welcome."""
    with pytest.raises(
        StoreLockedError, match=f"process {os.getpid()} on .+ \\(.+\\); open it with read_only=True"
    ):
        LmdbStore.open(store.path)
    with LmdbStore.open(store.path, read_only=True) as reader:
        assert reader.last_seq == 0
    store.close()
    LmdbStore.open(store.path).close()


def test_second_writer_in_another_process(store: LmdbStore) -> None:
    """The lock holds across processes, and ends with the holder's death."""
    code = "import sys; from sola_scale.store import LmdbStore; LmdbStore.open(sys.argv[1])"
    command = [sys.executable, "-c", code, str(store.path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert f"StoreLockedError: {store.path} is being written by process {os.getpid()}" in refused.stderr
    store.close()
    assert subprocess.run(command, env=environment, check=False).returncode == 0


def test_lock_of_a_killed_writer_is_free(store: LmdbStore) -> None:
    """A writer that was killed leaves no lock behind."""
    store.close()
    code = (
        "import sys, time; from sola_scale.store import LmdbStore; s = LmdbStore.open(sys.argv[1]);"
        "print('open', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(StoreLockedError, match=f"process {writer.pid} "):
            LmdbStore.open(store.path)
        writer.send_signal(signal.SIGKILL)
    LmdbStore.open(store.path).close()


def test_reader_cannot_write(store: LmdbStore) -> None:
    """A store open for reading refuses every verb."""
    store.write([sample_edit(1)])
    with LmdbStore.open(store.path, read_only=True) as reader:
        for verb in (
            lambda: reader.write([sample_edit(2)]),
            lambda: reader.revoke([1]),
            lambda: reader.put_settings({"a": 1}),
            reader.compact,
        ):
            with pytest.raises(StoreReadOnlyError):
                verb()


def test_other_process_sees_writes_without_reopening(store: LmdbStore, follower: Follower) -> None:
    """A reader elsewhere sees each write and revocation as soon as it is durable."""
    assert follower.ask() == {"seq": 0, "statuses": {}}
    store.write([sample_edit(1), sample_edit(2)])
    assert follower.ask() == {"seq": 1, "statuses": {"1": "live", "2": "live"}}
    store.revoke([1])
    assert follower.ask()["statuses"]["1"] == "revoked"


def test_reader_follows_a_compaction(store: LmdbStore, follower: Follower) -> None:
    """A reader elsewhere keeps its old file through a compaction, and finds the new one with `refresh`."""
    store.write([sample_edit(n, size=5000) for n in range(1, 50)])
    store.purge(range(1, 40))
    assert follower.ask()["seq"] == 2
    assert store.compact() > 0
    store.revoke([45])
    assert follower.ask()["seq"] == 2
    assert follower.ask("refresh")["seq"] == 3
    assert follower.ask()["statuses"]["45"] == "revoked"
    store.restore([45])
    assert follower.ask()["seq"] == 4


def test_reader_in_the_same_process_follows_a_compaction(store: LmdbStore) -> None:
    """Two stores of one process share the file, and the reader finds a compacted one with `refresh`."""
    store.write([sample_edit(n) for n in range(1, 20)])
    with LmdbStore.open(store.path, read_only=True) as reader:
        store.compact()
        store.revoke([3])
        assert reader.refresh() == 2
        assert state_of(reader) == state_of(store)
        store.close()
        assert reader.record(3).status == "revoked"


def test_store_is_refused_after_a_fork(store: LmdbStore) -> None:
    """A forked child may not use its parent's store, may open its own, and leaves the parent's alone."""
    store.write([sample_edit(1)])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            store.record(1)
        except StoreClosedError as error:
            answers.put(str(error))
        with LmdbStore.open(store.path, read_only=True) as reader:
            answers.put(reader.record(1).target)
        store.close()

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert "before a fork" in answers.get()
    assert answers.get() == "Town 1"
    store.write([sample_edit(2)])
    with pytest.raises(StoreLockedError):
        LmdbStore.open(store.path)


def test_lock_does_not_outlive_its_holder_in_a_forked_child(store: LmdbStore) -> None:
    """A child that lives on does not keep the store locked after its parent closed it."""
    context = multiprocessing.get_context("fork")
    goes_on = context.Event()
    process = context.Process(target=goes_on.wait)
    process.start()
    try:
        store.close()
        LmdbStore.open(store.path).close()
    finally:
        goes_on.set()
        process.join(30)


def test_killed_readers_leave_no_stale_slots(store: LmdbStore) -> None:
    """A reader killed inside a transaction does not keep old pages alive: opening clears its slot."""
    store.write([sample_edit(1)])
    code = (
        "import sys, time; from sola_scale.store import LmdbStore; s = LmdbStore.open(sys.argv[1], read_only=True);"
        "r = s._environment.read(); r.__enter__(); print('reading', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)], stdout=subprocess.PIPE, env=environment
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        assert str(reader.pid) in store.readers()
        reader.send_signal(signal.SIGKILL)
    store.refresh()
    assert str(reader.pid) not in store.readers()


def test_threads_read_while_one_writes_and_compacts(store: LmdbStore) -> None:
    """Readers on many threads never see half a transaction, a wrong row or a closed file."""
    store.write([sample_edit(n) for n in range(1, 101)])
    stop, errors = threading.Event(), []

    def read(number: int) -> None:
        rng = np.random.default_rng(number)
        try:
            while not stop.is_set():
                edit_id = int(rng.integers(1, 101))
                assert store.weights([edit_id]) == [sample_weights(edit_id)]
                record = store.record(edit_id)
                assert (record.status == "live") == bool(record.key_ids)
                _, owners = store.verification(np.arange(1, 60, dtype=np.uint64))
                assert set(owners.tolist()) <= set(range(101))
                store.refresh()
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the main thread shall raise it
            errors.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    held: dict[int, tuple[int, bytes]] = {}
    follow(held, store.changes(0))
    for _ in range(4):
        follow(held, [store.revoke(range(1, 50)), store.restore(range(1, 50))])
        store.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert held == active(store)


def test_writers_on_many_threads_take_turns(store: LmdbStore) -> None:
    """Writes from several threads are each one transaction, and no id is given twice."""
    written: list[int] = []

    def write() -> None:
        for number in range(10):
            written.extend(store.write([sample_edit(number), sample_edit(number + 1)]).edit_ids)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == list(range(1, 81))
    assert store.last_seq == 40


def test_one_recalibration_at_a_time(store: LmdbStore) -> None:
    """A recalibration that starts within another is refused; the first one goes on."""
    store.write([sample_edit(1)])

    def rows() -> Iterator[tuple[int, KeyRows]]:
        with pytest.raises(EditStateError, match="under way"):
            store.recalibrate(5, [])
        yield 1, sample_keys(11)

    store.recalibrate(4, rows())
    assert store.calibration == 4
