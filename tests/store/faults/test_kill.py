"""The fault suite: a real writer is killed at random points, and everything acknowledged must be there.

`SOLA_FAULT_KILLS` sets the number of kills.
"""

import copy
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from sola_scale.errors import StoreNotFoundError
from sola_scale.store import LmdbStore, MemoryStore
from sola_scale.store.testing import sample_manifest, state_of
from tests.store.faults.steps import Step, StepClock, do, open_index

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("SOLA_FAULT_KILLS", "8"))
KILLS_PER_STORE = 12
LONGEST = 0.4
"""Seconds a writer may live; short enough that few steps pass unkilled."""


def run_and_kill(folder: Path, rng: random.Random) -> tuple[list[Step], Step | None]:
    """Let a writer work on the store and kill it; returns the acknowledged steps and the one it was in."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("worker.py")),
        str(folder),
        str(rng.randrange(1 << 30)),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "index")]),
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as worker:
        assert worker.stdout is not None
        first = worker.stdout.readline()
        assert b"ready" in first, "the writer could not open the store"
        time.sleep(rng.uniform(0, LONGEST))
        worker.send_signal(signal.SIGKILL)
        lines = [json.loads(line) for line in worker.stdout.read().splitlines()]
    assert worker.returncode == -signal.SIGKILL, "the writer died by itself"
    begun = [line["begin"] for line in lines if "begin" in line]
    done = sum("done" in line for line in lines)
    assert len(begun) - done in (0, 1)
    return begun[:done], begun[done] if len(begun) > done else None


def check(folder: Path, twin: MemoryStore, in_flight: Step | None) -> MemoryStore:
    """Compare the reopened store with its twin, and find whether the step in flight happened; it must be sound."""
    with LmdbStore.open(folder / "store") as store:
        found = state_of(store)
        report = store.verify()
        assert report.damages == []
        check_index(store, folder)
    if in_flight is None or found == state_of(twin):
        assert found == state_of(twin)
        return twin
    ahead = copy_of(twin)
    do(ahead, in_flight)
    assert found == state_of(ahead), f"half of this happened: {in_flight}"
    return ahead


def check_index(store: LmdbStore, folder: Path) -> None:
    """Whatever the kill left of a snapshot: the index holds what the store says, from the snapshot and from scratch."""
    live = open_index(store, folder)
    try:
        assert live.compare() == ()
    finally:
        live.close()


def copy_of(twin: MemoryStore) -> MemoryStore:
    """An independent twin in the same state."""
    other = MemoryStore(sample_manifest(), clock=StepClock())
    other._open_ledger = copy.deepcopy(twin._open_ledger)
    other._blobs, other._settings = dict(twin._blobs), dict(twin._settings)
    return other


def check_backup(folder: Path) -> None:
    """A backup that was under way is whole or is none."""
    try:
        with LmdbStore.open(folder / "backup") as store:
            assert store.verify().damages == []
    except StoreNotFoundError:
        pass


@pytest.mark.fault
def test_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Whatever a writer was doing when it was killed: acknowledged steps are there, the one in flight whole or absent."""
    rng = random.Random(int(os.environ.get("SOLA_FAULT_SEED", "1")))
    struck: Counter[str] = Counter()
    for round_number in range(0, KILLS, KILLS_PER_STORE):
        folder = tmp_path / str(round_number)
        LmdbStore.create(folder / "store", sample_manifest()).close()
        twin = MemoryStore(sample_manifest(), clock=StepClock())
        for _ in range(min(KILLS_PER_STORE, KILLS - round_number)):
            acknowledged, in_flight = run_and_kill(folder, rng)
            for step in acknowledged:
                do(twin, step)
            twin = check(folder, twin, in_flight)
            check_backup(folder)
            struck[in_flight["verb"] if in_flight else "between steps"] += 1
    sys.stdout.write(f"{KILLS} kills, by what was under way: {dict(struck.most_common())}\n")
