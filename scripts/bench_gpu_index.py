"""Measure the index's GPU tier against plain torch on the same keys: for whoever has a GPU and faiss-gpu.

    python scripts/bench_gpu_index.py [--keys 1000000] [--dim 256] [--json]

Keys are drawn around centres like real ones (a paraphrase lies at 0.4 to 1.0 from its key, strangers crowd at 1.0); all
ways search the same float16 keys. The floor is the keys' bytes over the bandwidth of a device-to-device copy.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sola_index import IndexConfig, KeyIndex
from sola_index.gpu import cuda_device

ROUNDS, QUERIES, CLONED, K = 300, 2000, 300_000, 8


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is present")
    figures = measure(*draw(arguments.keys, arguments.dim))
    print(
        json.dumps(figures, indent=2)
        if arguments.json
        else "\n".join(f"{k:36} {v}" for k, v in figures.items())
    )


def draw(count: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit keys, queries, and the row that each query asks for."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2000, dim), dtype=np.float32)
    keys = centres[rng.integers(len(centres), size=count)] + rng.standard_normal(
        (count, dim), dtype=np.float32
    )
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    right = rng.choice(count, size=QUERIES, replace=False)
    noise = rng.standard_normal((QUERIES, dim), dtype=np.float32) / np.sqrt(dim)
    queries = keys[right] + rng.uniform(0.4, 1.0, size=(QUERIES, 1)).astype(np.float32) * noise
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return keys, queries.astype(np.float32), right


def measure(keys: np.ndarray, queries: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Every figure."""
    held = torch.from_numpy(keys).cuda().half()
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "keys": len(keys),
        "dim": keys.shape[1],
    }
    figures["floor_ms"] = round(1e3 * held.numel() * 2 / bandwidth(), 4)

    def plain(batch: np.ndarray) -> np.ndarray:
        asked = torch.from_numpy(batch).cuda().half()
        return (asked @ held.T).topk(K, dim=1).indices.cpu().numpy()

    figures |= judged("torch", plain, queries, right)
    few = min(len(keys), CLONED)
    for name, count, config in (
        ("flat", len(keys), IndexConfig()),
        ("clone", few, IndexConfig(device_flat=1)),
    ):
        index = KeyIndex(keys.shape[1], config=config, device=cuda_device())
        began = time.perf_counter()
        index.add(np.arange(count, dtype=np.uint64), keys[:count])
        figures |= {f"{name}_keys": count, f"{name}_add_seconds": round(time.perf_counter() - began, 2)}
        asked = right < count
        figures |= judged(
            name, lambda batch, index=index: index.search(batch, K).ids, queries[asked], right[asked]
        )
        figures |= removal(name, index, keys)
        index.close()
    return figures


def judged(
    name: str, search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray, right: np.ndarray
) -> dict[str, Any]:
    """Time of one query and of 64, and the share of queries whose key is among the answers."""
    found = np.concatenate([search(queries[start : start + 64]) for start in range(0, len(queries), 64)])
    single = [_seconds(lambda n=n: search(queries[None, n % len(queries)])) for n in range(ROUNDS)]
    batch = [_seconds(lambda n=n: search(queries[n : n + 64])) for n in range(ROUNDS // 3)]
    return {
        f"{name}_right_kept": round(
            float((found == right[:, None].astype(found.dtype)).any(axis=1).mean()), 5
        ),
        f"{name}_p50_ms": round(1e3 * statistics.median(single), 3),
        f"{name}_p95_ms": round(1e3 * float(np.quantile(single, 0.95)), 3),
        f"{name}_batch64_ms_a_query": round(1e3 * statistics.median(batch) / 64, 4),
    }


def removal(name: str, index: KeyIndex, keys: np.ndarray) -> dict[str, Any]:
    """Take a thousand ids out one at a time; none may come back when its own key is asked for."""
    gone = np.arange(0, 1000, dtype=np.uint64) * 7
    seconds = [_seconds(lambda one=gone[n : n + 1]: index.remove(one)) for n in range(len(gone))]
    back = np.isin(index.search(keys[gone.astype(np.int64)], K).ids, gone).sum()
    kept = np.arange(3, 7003, 7)
    own = (index.search(keys[kept], K).ids[:, 0] == kept.astype(np.uint64)).mean()
    return {
        f"{name}_remove_us": round(1e6 * statistics.median(seconds), 1),
        f"{name}_returned_after_removal": int(back),
        f"{name}_own_key": round(float(own), 5),
    }


def bandwidth() -> float:
    """Bytes a second that a large copy on the device reads and writes."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    torch.cuda.synchronize()
    return 10 * 2 * len(source) / (time.perf_counter() - began)


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
