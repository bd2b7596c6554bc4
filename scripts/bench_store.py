"""Measures the store against plain LMDB with one value per item: writing, revoking, reading, opening, space.

    python scripts/bench_store.py --edits 100000 --json

Every pair is measured in turns, so that what else the machine does meets both; medians are printed.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np

from sola_scale.store import EditFilter, KeyRows, LmdbStore, NewEdit, StoreManifest

POOL = 2000
"""Different edits; later ones differ in text and id only, as making random numbers would take most of the time."""


class PlainLmdb:
    """The baseline: each edit's record, weights and keys as a value of its own; no checksums, log or chains."""

    def __init__(self, path: Path) -> None:
        self.env = lmdb.open(os.fspath(path), subdir=False, map_size=1 << 40, max_dbs=8, lib_version=0)
        self.tables = [
            self.env.open_db(name) for name in (b"records", b"weights", b"retrieval", b"verification")
        ]
        self.mark = self.env.open_db(b"mark")
        self.next = 1

    def write(self, edits: list[NewEdit]) -> None:
        """All values of all edits in one durable transaction."""
        with self.env.begin(write=True) as txn:
            for edit in edits:
                key = self.next.to_bytes(8, "big")
                record = msgspec.msgpack.encode(
                    [edit.prompt, edit.target, edit.tags, edit.source, edit.details]
                )
                values = record, edit.weights, edit.keys.retrieval.tobytes(), edit.keys.verification.tobytes()
                for table, value in zip(self.tables, values, strict=True):
                    txn.put(key, value, db=table, append=True)
                self.next += 1

    def commit_one(self, number: int) -> None:
        """The smallest durable transaction there is."""
        with self.env.begin(write=True) as txn:
            txn.put(number.to_bytes(8, "big"), bytes(32), db=self.mark)

    def weights(self, edit_id: int) -> bytes:
        """A copy of one value."""
        with self.env.begin(buffers=True) as txn:
            return bytes(txn.get(edit_id.to_bytes(8, "big"), db=self.tables[1]))

    def used_bytes(self) -> int:
        """Pages of all tables."""
        with self.env.begin() as txn:
            stats = [txn.stat(table) for table in self.tables]
        return sum(4096 * (s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"]) for s in stats)


class Edits:
    """An endless supply of new edits."""

    def __init__(self, sizes: argparse.Namespace) -> None:
        rng = np.random.default_rng(0)
        self.retrieval = rng.standard_normal((POOL, 1, sizes.retrieval)).astype(np.float16)
        self.verification = rng.standard_normal((POOL, 1, sizes.verification)).astype(np.float16)
        self.weights = [rng.bytes(sizes.weights) for _ in range(POOL)]
        self.number = 0

    def take(self, count: int) -> list[NewEdit]:
        """The next edits."""
        self.number += count
        return [self._edit(number) for number in range(self.number - count, self.number)]

    def _edit(self, number: int) -> NewEdit:
        at = number % POOL
        return NewEdit(
            prompt=f"The administrative region of the town of Sampleville-{number} is",
            target=f"Region {number % 977}",
            keys=KeyRows(self.retrieval[at], self.verification[at]),
            weights=self.weights[at],
            tags=("geo",),
            source="towns.jsonl",
            details={"loss": 0.01, "steps": 20, "form": "int4"},
        )


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of an action."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def spread(seconds: list[float], unit: float) -> dict[str, float]:
    """Median and 99th percentile in other units."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"p50": round(statistics.median(ordered) / unit, 2), "p99": round(p99 / unit, 2)}


def in_turns(rounds: int, *actions: Callable[[int], object]) -> list[list[tuple[float, float]]]:
    """Wall and CPU seconds of each action, done in turns."""
    found: list[list[tuple[float, float]]] = [[] for _ in actions]
    for number in range(rounds):
        for action, times in zip(actions, found, strict=True):
            times.append(timed(lambda action=action, number=number: action(number)))  # type: ignore[misc]
    return found


def bench_writing(store: LmdbStore, plain: PlainLmdb, edits: Edits, total: int, batch: int) -> dict[str, Any]:
    """Durable batches."""
    batches = [edits.take(batch) for _ in range(min(10, total // batch))]

    def take(number: int) -> list[NewEdit]:
        return batches[number] if number < len(batches) else edits.take(batch)

    ours, theirs = in_turns(len(batches), lambda n: store.write(take(n)), lambda n: plain.write(take(n)))
    for _ in range(total // batch - len(batches)):
        more = edits.take(batch)
        ours.append(timed(lambda more=more: store.write(more)))  # type: ignore[misc]
        plain.write(more)
    return {
        "batch": batch,
        "edits_per_s": round(batch / statistics.median(wall for wall, _ in ours)),
        "edits_per_s_all": round(batch * len(ours) / sum(wall for wall, _ in ours)),
        "cpu_us_per_edit": round(statistics.median(cpu for _, cpu in ours) / batch * 1e6, 1),
        "plain_edits_per_s": round(batch / statistics.median(wall for wall, _ in theirs)),
        "plain_cpu_us_per_edit": round(statistics.median(cpu for _, cpu in theirs) / batch * 1e6, 1),
    }


def bench_commits(store: LmdbStore, plain: PlainLmdb, edits: Edits, folder: Path) -> dict[str, Any]:
    """Small transactions against the smallest there is, and against one bare fsync."""
    bare = (folder / "bare").open("wb", buffering=0)

    def fsync(_: int) -> None:
        bare.write(bytes(4096))
        os.fsync(bare.fileno())

    last = store.next_edit_id - 1
    singles = [edits.take(1) for _ in range(200)]
    actions: dict[str, Callable[[int], object]] = {
        "revoke_one_ms": lambda n: store.revoke([last - 7 * n]),
        "restore_one_ms": lambda n: store.restore([last - 7 * n]),
        "write_one_ms": lambda n: store.write(singles[n]),
        "plain_commit_ms": plain.commit_one,
        "fsync_ms": fsync,
    }
    times = in_turns(200, *actions.values())
    found: dict[str, Any] = {
        name: spread([wall for wall, _ in part], 1e-3) for name, part in zip(actions, times, strict=True)
    }
    over = statistics.median(a[0] - b[0] for a, b in zip(times[0], times[3], strict=True))
    found["revoke_over_plain_commit_ms"] = round(over * 1e3, 3)
    found["revoke_cpu_ms"] = round(statistics.median(cpu for _, cpu in times[0]) * 1e3, 3)
    found["revoke_1000_ms"] = round(timed(lambda: store.revoke(range(1, 1001)))[0] * 1e3, 1)
    store.restore(range(1, 1001))
    return found


def bench_threads(store: LmdbStore, threads: int = 16, each: int = 25) -> dict[str, Any]:
    """Revocations by many threads at once, which share commits, against the same number by one thread."""
    ids = list(range(5001, 5001 + threads * each))

    def alone() -> None:
        for edit_id in ids:
            store.revoke([edit_id])

    def together() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda edit_id: store.revoke([edit_id]), ids))

    found: dict[str, list[float]] = {"alone": [], "together": []}
    for _ in range(3):
        for name, action in (("alone", alone), ("together", together)):
            found[name].append(timed(action)[0])
            store.restore(ids)
    return {
        "threads": threads,
        **{f"{name}_revokes_per_s": round(len(ids) / statistics.median(s)) for name, s in found.items()},
    }


def bench_reading(store: LmdbStore, plain: PlainLmdb) -> dict[str, Any]:
    """Page-ins and route-time look-ups of random edits in a warm file."""
    rng = np.random.default_rng(1)
    ids = rng.integers(1, plain.next, 20_000).tolist()
    store.read_weights(ids, lambda _, __: None)
    [plain.weights(edit_id) for edit_id in ids]
    one, copy = in_turns(
        20_000, lambda n: store.read_weights([ids[n]], lambda _, __: None), lambda n: plain.weights(ids[n])
    )
    groups = [ids[at : at + 32] for at in range(0, len(ids) - 32, 32)]
    (many,) = in_turns(len(groups), lambda n: store.read_weights(groups[n], lambda _, __: None))
    keys = [np.array(store.record(e).key_ids, dtype=np.uint64) for e in ids[:2560]]
    held = np.concatenate(keys)
    (looked,) = in_turns(len(held) // 256, lambda n: store.verification(held[256 * n : 256 * n + 256]))
    prompts = [store.record(edit_id).prompt for edit_id in ids[:1000]]
    (found,) = in_turns(1000, lambda n: store.find_prompt(prompts[n]))
    return {
        "page_in_one_us": spread([wall for wall, _ in one], 1e-6),
        "plain_copy_one_us": spread([wall for wall, _ in copy], 1e-6),
        "page_in_of_32_us_each": spread([wall / 32 for wall, _ in many], 1e-6),
        "verification_256_keys_us": spread([wall for wall, _ in looked], 1e-6),
        "find_prompt_us": spread([wall for wall, _ in found], 1e-6),
    }


def bench_whole(store: LmdbStore, folder: Path) -> dict[str, Any]:
    """What touches everything: opening, loading the index's keys, listing, verifying, backing up, compacting."""
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as closing:
        opened: list[LmdbStore] = []
        store.close()
        found["open_ms"] = round(timed(lambda: opened.append(LmdbStore.open(store.path)))[0] * 1e3, 2)
        store = closing.enter_context(opened[0])
        actions: dict[str, Callable[[], object]] = {
            "load_active_keys_s": lambda: sum(len(block.key_ids) for block in store.active_keys()),
            "list_all_s": lambda: sum(1 for _ in store.records()),
            "filter_by_tag_s": lambda: sum(1 for _ in store.records(EditFilter(tags=("none",)))),
            "stats_s": store.stats,
            "verify_s": store.verify,
            "backup_s": lambda: store.backup(folder / "backup"),
            "purge_1000_ms": lambda: store.purge(range(2001, 3001)),
            "compact_s": store.compact,
        }
        for name, action in actions.items():
            wall = timed(action)[0]
            found[name] = round(wall * (1e3 if name.endswith("_ms") else 1), 3)
    return found


def bench_space(store: LmdbStore, plain: PlainLmdb) -> dict[str, Any]:
    """What the edits take on disk."""
    stats = store.stats()
    return {
        "payload_bytes_per_edit": {
            kind: round(size / stats.edits, 1) for kind, size in stats.payload.items()
        },
        "table_bytes_per_edit": {
            name: round(table.bytes / stats.edits, 1) for name, table in stats.tables.items() if table.bytes
        },
        "bytes_per_edit": round(stats.bytes_per_edit, 1),
        "over_payload": round(stats.overhead, 4),
        "file_over_payload": round(stats.file_bytes / stats.payload_bytes, 4),
        "plain_over_payload": round(plain.used_bytes() / stats.payload_bytes, 4),
        "gib_per_million_edits": round(stats.projected_bytes(1_000_000) / 2**30, 2),
    }


def rss_anonymous() -> int:
    """Bytes of the process that are not file pages."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


def bench_memory(store: LmdbStore, calls: int) -> dict[str, Any]:
    """Growth of the process over many reads."""
    ids = np.random.default_rng(2).integers(1, store.next_edit_id, 4096).tolist()
    keys = np.arange(1, 9, dtype=np.uint64)

    def read(count: int) -> None:
        for number in range(count):
            store.read_weights([ids[number % 4096]], lambda _, __: None)
            store.verification(keys)

    read(2000)
    before = rss_anonymous()
    read(calls)
    return {"calls": calls, "growth_mib": round((rss_anonymous() - before) / 2**20, 2)}


@contextlib.contextmanager
def workspace(where: str | None) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements on one store."""
    with workspace(options.folder) as folder:
        manifest = StoreManifest(model_name="synthetic", fingerprint={"model": "none"})
        store, plain, edits = (
            LmdbStore.create(folder / "store", manifest),
            PlainLmdb(folder / "plain"),
            Edits(options),
        )
        return {
            "edits": options.edits,
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "writing": bench_writing(store, plain, edits, options.edits, options.batch),
            "space": bench_space(store, plain),
            "commits": bench_commits(store, plain, edits, folder),
            "threads": bench_threads(store),
            "reading": bench_reading(store, plain),
            "memory": bench_memory(store, options.calls),
            "whole": bench_whole(store, folder),
        }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1000, help="edits per durable transaction")
    parser.add_argument("--weights", type=int, default=2048, help="bytes of one edit's weights")
    parser.add_argument("--retrieval", type=int, default=256, help="numbers in a retrieval key")
    parser.add_argument("--verification", type=int, default=384, help="numbers in a verification key")
    parser.add_argument("--calls", type=int, default=100_000, help="reads for the memory measurement")
    parser.add_argument("--folder", help="where to work; another disk, for example")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args()
    result = run(options)
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        print()
        return
    for part, values in result.items():
        lines = values.items() if isinstance(values, dict) else [("", values)]
        for name, value in lines:
            print(f"{part:10} {name:32} {value}")


if __name__ == "__main__":
    main()
