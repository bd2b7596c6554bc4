"""Measure the index against faiss, hnswlib and usearch on real keys, in one run, on one core.

Run: ``PYTHONPATH=.:index python scripts/bench_index.py --keys keys.npy --queries queries.npy --json``, with the files of
``make_real_keys.py``: row i of the queries is a paraphrase of row i of the keys.

"right kept" is the share of queries whose own edit is among the 8 answers, of those where exact search has it among its
8. Times are of one query at a time, in CPU time of the calling thread (and in wall time, which means little on a busy
machine). Contenders take turns after every 50 queries; in the "cold" column after every query, so that each finds the
caches full of the others' data.
"""

import argparse
import dataclasses
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
import psutil
from index_contenders import Contender, K, Ours, contenders
from index_report import Row, exponent, plot, rows_of, show

from sola_index import KeyIndex

# Shapes: M queries, N keys, D dimensions, K answers.
PARAPHRASES = 12_000
"""Queries whose answers are judged, asked in batches: all there are, for a lost one in a thousand is what counts."""

TIMED = 1_000
"""Queries of these that are timed, one at a time."""

BATCH = 64
TURN = 50
"""Queries that a contender answers before it is the next one's turn."""

COLD = 300
"""Queries asked with a turn each."""


@dataclasses.dataclass
class Timed:
    """What single queries cost a contender."""

    cpu_ms: list[float] = dataclasses.field(default_factory=list)
    wall_ms: list[float] = dataclasses.field(default_factory=list)

    def ask(self, contender: Contender, query_1D: np.ndarray) -> None:
        """Ask one query and note its cost."""
        started, started_cpu = time.perf_counter(), time.thread_time()
        contender.search(query_1D)
        self.cpu_ms.append(1e3 * (time.thread_time() - started_cpu))
        self.wall_ms.append(1e3 * (time.perf_counter() - started))


class Bench:
    """All contenders at one size."""

    def __init__(
        self, keys_ND: np.ndarray, queries_MD: np.ndarray, only: list[str], most_seconds: float
    ) -> None:
        self.keys_ND = keys_ND
        self.left_out: list[str] = []
        count, dim = keys_ND.shape
        rng = np.random.default_rng(0)
        most = min(len(queries_MD), count)
        self.asked_M = rng.choice(most, min(PARAPHRASES, most), replace=False)
        self.queries_MD = np.ascontiguousarray(queries_MD[self.asked_M])
        self.own_M = np.sort(rng.choice(count, min(1_000, count), replace=False))
        self.truth_MK = exact_neighbours(keys_ND, self.queries_MD)
        self.kept_M = (self.truth_MK == self.asked_M[:, None]).any(1)
        self.rows: dict[str, Row] = {}
        self.built: dict[str, Contender] = {}
        for name, make in contenders(dim, count, only).items():
            self._build(name, make, most_seconds)

    def _build(self, name: str, make: Callable[[], Contender], most_seconds: float) -> None:
        """Build a contender, or leave it out if that takes longer than it may."""
        gc.collect()
        before, started = psutil.Process().memory_info().rss, time.process_time()
        contender = make()
        for added in contender.add(self.keys_ND):
            if time.process_time() - started > most_seconds:
                self.left_out.append(f"{name}: {added:,} keys in {most_seconds:.0f} s")
                return
        seconds = time.process_time() - started
        print(f"{len(self.keys_ND):,} keys in {name}: {seconds:.0f} CPU s", file=sys.stderr, flush=True)
        row = Row(keys=len(self.keys_ND), index=name, adds_per_cpu_s=len(self.keys_ND) / seconds)
        grown_by = psutil.Process().memory_info().rss - before
        row.beside_keys_mb = (grown_by - self.keys_ND.nbytes) / 1e6
        if isinstance(contender, Ours):
            row.tier = contender.index.stats().tier
        self.rows[name], self.built[name] = row, contender

    def run(self) -> list[Row]:
        """Time single queries in turns, then batches; fill in the table."""
        timed = self._in_turns(self.queries_MD[:TIMED], TURN)
        cold = self._in_turns(self.queries_MD[:COLD], 1)
        for name, row in self.rows.items():
            row.cpu_ms_p50, row.cpu_ms_p95 = np.percentile(timed[name].cpu_ms, [50, 95]).tolist()
            row.wall_ms_p50, row.wall_ms_p95 = np.percentile(timed[name].wall_ms, [50, 95]).tolist()
            row.cold_cpu_ms_p50, row.cold_cpu_ms_p95 = np.percentile(cold[name].cpu_ms, [50, 95]).tolist()
            row.cpu_ms_mean = float(np.mean(timed[name].cpu_ms))
            self._judge(row, self.built[name])
            self._batches(row, self.built[name])
        return list(self.rows.values())

    def _in_turns(self, queries_MD: np.ndarray, turn: int) -> dict[str, "Timed"]:
        timed = {name: Timed() for name in self.built}
        for start in range(0, len(queries_MD), turn):
            for name, contender in self.built.items():
                for query_1D in np.split(
                    queries_MD[start : start + turn], len(queries_MD[start : start + turn])
                ):
                    timed[name].ask(contender, query_1D)
        return timed

    def _judge(self, row: Row, contender: Contender) -> None:
        parts = [self.queries_MD[start : start + 500] for start in range(0, len(self.queries_MD), 500)]
        labels_MK = np.concatenate([contender.search(part_MD) for part_MD in parts])
        right_M = (labels_MK == self.asked_M[:, None]).any(1)
        row.right_kept = float((right_M & self.kept_M).sum() / self.kept_M.sum())
        shared = [
            len(set(a) & set(b)) for a, b in zip(labels_MK.tolist(), self.truth_MK.tolist(), strict=True)
        ]
        row.overlap = float(np.mean(shared)) / K

    def _batches(self, row: Row, contender: Contender) -> None:
        own_MD = np.ascontiguousarray(self.keys_ND[self.own_M])
        row.own_key = float((contender.search(own_MD)[:, 0] == self.own_M).mean())
        batch = self.queries_MD[: BATCH * 8]
        started = time.process_time()
        for start in range(0, len(batch), BATCH):
            contender.search(np.ascontiguousarray(batch[start : start + BATCH]))
        row.batch_per_cpu_s = len(batch) / (time.process_time() - started)


def exact_neighbours(keys_ND: np.ndarray, queries_MD: np.ndarray) -> np.ndarray:
    """The K nearest rows of each query by brute force in float32, [M, K]."""
    best = faiss.IndexFlatL2(keys_ND.shape[1])
    near = [np.empty((len(queries_MD), 0), np.float32), np.empty((len(queries_MD), 0), np.int64)]
    for start in range(0, len(keys_ND), 65_536):
        best.reset()
        best.add(np.ascontiguousarray(keys_ND[start : start + 65_536]))
        squared_MK, labels_MK = best.search(queries_MD, min(K, best.ntotal))
        near = [np.hstack([near[0], squared_MK]), np.hstack([near[1], labels_MK + start])]
        order_MK = np.argsort(near[0], axis=1)[:, :K]
        near = [np.take_along_axis(column, order_MK, 1) for column in near]
    return near[1]


def lifecycle(index: KeyIndex, keys_ND: np.ndarray) -> dict[str, float]:
    """Removal, radius search, snapshot and opening of our index, in milliseconds and seconds of wall time."""
    times: dict[str, float] = {}
    rng = np.random.default_rng(1)
    gone_N = rng.choice(index.ids, min(2_000, len(index) // 4), replace=False)
    ones = []
    for key_id in gone_N[:1000]:
        started = time.perf_counter()
        index.remove(np.array([key_id], np.uint64))
        ones.append(time.perf_counter() - started)
    times["remove_1_us_p50"] = float(1e6 * np.median(ones))
    started = time.perf_counter()
    index.remove(gone_N[1000:])
    times["remove_1000_ms"] = 1e3 * (time.perf_counter() - started)
    queries_MD = np.ascontiguousarray(keys_ND[rng.choice(len(keys_ND), 100)])
    for radius in (0.005, 0.02, 0.08):  # Euclidean 0.1, 0.2, 0.4
        spent = []
        for query_D in queries_MD:
            started = time.thread_time()
            index.within(query_D, radius)
            spent.append(time.thread_time() - started)
        times[f"within_{radius}_cpu_ms_p50"] = float(1e3 * np.median(spent))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        index.snapshot(folder, 1)
        times["snapshot_s"] = time.perf_counter() - started
        started = time.perf_counter()
        again, _ = KeyIndex.load(folder)
        times["open_s"] = time.perf_counter() - started
        times["opened_beside_keys_mb"] = opened_beside_keys(folder) / 1e6
        started = time.perf_counter()
        again.snapshot(folder, 2)
        times["snapshot_again_s"] = time.perf_counter() - started
        again.close()
    stats = index.stats()
    times["beside_keys_mb"] = stats.other_bytes / 1e6
    times["last_rebuild_s"] = stats.last_rebuild_seconds
    return times


def opened_beside_keys(folder: str) -> int:
    """Bytes that opening a snapshot adds to a fresh process's own memory: the keys are mapped, so this is all the rest."""
    code = (
        "import psutil, sys; from sola_index import KeyIndex\n"
        "own = lambda: (memory := psutil.Process().memory_info()).rss - memory.shared\n"
        "before = own(); index, _ = KeyIndex.load(sys.argv[1]); print(own() - before)"
    )
    command = [sys.executable, "-c", code, folder]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def churn(keys_ND: np.ndarray, writes: int) -> dict[str, float]:
    """Write in batches of 512, revoke a fifth of each, with rebuilds in the background; count what goes wrong."""
    index = KeyIndex(keys_ND.shape[1], "cosine")
    rng = np.random.default_rng(3)
    missed = returned = revoked = 0
    checking, began = 0.0, time.process_time()
    for start in range(0, writes, 512):
        part_ND = np.ascontiguousarray(keys_ND[start : min(start + 512, writes)])
        ids_N = np.arange(start, start + len(part_ND), dtype=np.uint64)
        index.add(ids_N, part_ND)
        started = time.thread_time()
        missed += int((index.search(part_ND, 1).ids[:, 0] != ids_N).sum())
        gone_N = rng.choice(ids_N, len(ids_N) // 5, replace=False)
        index.remove(gone_N)
        revoked += len(gone_N)
        returned += int(np.isin(index.search(keys_ND[gone_N[:64].astype(np.int64)], K).ids, gone_N).sum())
        checking += time.thread_time() - started
    index.settle()
    adding = time.process_time() - began - checking
    live_N = index.ids
    own = index.search(np.ascontiguousarray(keys_ND[live_N[::10].astype(np.int64)]), 1).ids[:, 0]
    stats = index.stats()
    index.close()
    return {
        "writes": writes,
        "revoked": revoked,
        "own_key_missed_after_write": missed,
        "own_key_missed_at_end": int((own != live_N[::10]).sum()),
        "revoked_returned": returned,
        "adds_per_cpu_s_with_rebuilds": writes / adding,
        "rebuilds": stats.rebuilds,
    }


def grown(keys_ND: np.ndarray, count: int) -> np.ndarray:
    """``count`` keys: the real ones, then as many as are missing, each a real key shifted by a real difference.

    A stand-in where there are not enough real keys: the shift of length 0.8 along the difference of two random keys
    keeps the covariance and leaves every key about as crowded as real ones are.
    """
    if count <= len(keys_ND):
        return np.ascontiguousarray(keys_ND[:count])
    rng = np.random.default_rng(2)
    all_ND = np.empty((count, keys_ND.shape[1]), np.float32)
    all_ND[: len(keys_ND)] = keys_ND
    for start in range(len(keys_ND), count, 65_536):
        rows = all_ND[start : start + 65_536]
        base, one, other = rng.integers(0, len(keys_ND), (3, len(rows)))
        shift_ND = keys_ND[one] - keys_ND[other]
        rows[:] = keys_ND[base] + 0.8 * shift_ND / np.maximum(
            np.linalg.norm(shift_ND, axis=1, keepdims=True), 1e-6
        )
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return all_ND


def main() -> None:
    """Measure every size and print the table, and everything as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--rows", type=int, help="how many rows of the key file are real (default: all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 300_000, 1_000_000])
    parser.add_argument(
        "--build-seconds", type=float, default=600, help="CPU time after which a contender is left out"
    )
    parser.add_argument(
        "--only", nargs="*", default=[], help="contenders whose names begin so (memory is finite)"
    )
    parser.add_argument("--churn", type=int, default=0, help="writes of the churn run (100000 is telling)")
    parser.add_argument("--plot", type=Path)
    parser.add_argument(
        "--with", dest="earlier", type=Path, nargs="*", default=[], help="JSON of earlier runs to show beside"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    real_ND = np.load(arguments.keys, mmap_mode="r")[: arguments.rows]
    queries_MD = np.load(arguments.queries)

    rows = rows_of(arguments.earlier)
    lives: dict[int, dict[str, Any]] = {}
    left_out: list[str] = []
    for size in arguments.sizes:
        bench = Bench(grown(real_ND, size), queries_MD, arguments.only, arguments.build_seconds)
        rows += bench.run()
        left_out += [f"{size:,} keys, {what}" for what in bench.left_out]
        ours = bench.built["sola_index"]
        assert isinstance(ours, Ours)
        lives[size] = {"real_keys": min(size, len(real_ND)), **lifecycle(ours.index, bench.keys_ND)}
        ours.index.close()
    churned = churn(grown(real_ND, arguments.churn), arguments.churn) if arguments.churn else {}
    if arguments.plot:
        plot(rows, arguments.plot)
    if arguments.json:
        result = {
            "rows": [dataclasses.asdict(row) for row in rows],
            "life": lives,
            "exponent": exponent(rows),
            "churn": churned,
            "left_out": left_out,
        }
        print(json.dumps(result, indent=1))
    else:
        show(rows)
        beside = {"life": lives, "exponent": exponent(rows), "churn": churned, "left_out": left_out}
        print(json.dumps(beside, indent=1))


if __name__ == "__main__":
    main()
