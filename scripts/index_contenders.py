"""The indexes that ``bench_index.py`` compares: ours, faiss's, hnswlib and usearch, behind two methods."""

from collections.abc import Callable, Iterator
from typing import Protocol

import faiss
import numpy as np

from sola_index import IndexConfig, KeyIndex

# Shapes: M queries, N keys, K answers.
K = 8
PART = 8_192
"""Keys added at once, after which a contender may be stopped."""


class Contender(Protocol):
    """An index under test; labels are row numbers."""

    def add(self, keys_ND: np.ndarray) -> Iterator[int]:
        """Train on the keys and add them, part by part; gives the number added so far."""

    def search(self, queries_MD: np.ndarray) -> np.ndarray:
        """Labels of the K nearest, [M, K]."""


class Ours:
    """`KeyIndex` with its defaults, rebuilds included in the time of adding."""

    def __init__(self, dim: int) -> None:
        self.index = KeyIndex(dim, "cosine", IndexConfig(background=False))

    def add(self, keys_ND: np.ndarray) -> Iterator[int]:
        """Add in batches of 1,024, the way a job writes edits."""
        for start in range(0, len(keys_ND), 1024):
            part_ND = np.ascontiguousarray(keys_ND[start : start + 1024])
            self.index.add(np.arange(start, start + len(part_ND), dtype=np.uint64), part_ND)
            yield start

    def search(self, queries_MD: np.ndarray) -> np.ndarray:
        """Nearest ids."""
        return self.index.search(queries_MD, K).ids.astype(np.int64)


class Faiss:
    """A faiss index by its factory string, with one search-time setting."""

    def __init__(self, dim: int, factory: str, **settings: int) -> None:
        self.index = faiss.index_factory(dim, factory)
        self._settings = settings

    def add(self, keys_ND: np.ndarray) -> Iterator[int]:
        """Train on at most 100,000 keys, add all."""
        step = max(1, len(keys_ND) // 100_000)
        self.index.train(np.ascontiguousarray(keys_ND[::step]))
        for start in range(0, len(keys_ND), PART):
            self.index.add(np.ascontiguousarray(keys_ND[start : start + PART]))
            yield start
        for name, value in self._settings.items():
            faiss.ParameterSpace().set_index_parameter(self.index, name, value)

    def search(self, queries_MD: np.ndarray) -> np.ndarray:
        """Nearest labels."""
        return self.index.search(queries_MD, K)[1]


class Hnswlib:
    """hnswlib's graph."""

    def __init__(self, dim: int, ef: int) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="l2", dim=dim)
        self._ef = ef

    def add(self, keys_ND: np.ndarray) -> Iterator[int]:
        """Insert one by one."""
        self.index.init_index(max_elements=len(keys_ND), ef_construction=80, M=16)
        self.index.set_num_threads(1)
        for start in range(0, len(keys_ND), PART):
            self.index.add_items(keys_ND[start : start + PART])
            yield start
        self.index.set_ef(self._ef)

    def search(self, queries_MD: np.ndarray) -> np.ndarray:
        """Nearest labels."""
        return self.index.knn_query(queries_MD, k=K)[0].astype(np.int64)


class Usearch:
    """usearch's graph."""

    def __init__(self, dim: int, ef: int) -> None:
        from usearch.index import Index

        self.index = Index(ndim=dim, metric="l2sq", connectivity=16, expansion_add=80, expansion_search=ef)

    def add(self, keys_ND: np.ndarray) -> Iterator[int]:
        """Insert one by one."""
        for start in range(0, len(keys_ND), PART):
            part_ND = np.ascontiguousarray(keys_ND[start : start + PART])
            self.index.add(np.arange(start, start + len(part_ND)), part_ND, threads=1)
            yield start

    def search(self, queries_MD: np.ndarray) -> np.ndarray:
        """Nearest labels."""
        found = self.index.search(queries_MD, K, threads=1)
        return np.asarray(found.keys).reshape(len(queries_MD), -1).astype(np.int64)


def contenders(dim: int, count: int, only: list[str]) -> dict[str, Callable[[], Contender]]:
    """What is measured at this size."""
    lists = int(2 ** round(np.log2(4 * np.sqrt(count))))
    codes = f"PQ{dim // 4}x4fs"
    field: dict[str, Callable[[], Contender]] = {
        "sola_index": lambda: Ours(dim),
        "faiss Flat": lambda: Faiss(dim, "Flat"),
        f"faiss {codes},RFlat": lambda: Faiss(dim, f"{codes},RFlat", k_factor_rf=8),
        f"faiss IVF{lists},Flat nprobe 64": lambda: Faiss(dim, f"IVF{lists},Flat", nprobe=64),
        f"faiss IVF{lists // 2},{codes},RFlat nprobe 128": lambda: Faiss(
            dim, f"IVF{lists // 2},{codes},RFlat", nprobe=128, k_factor_rf=16
        ),
        "faiss HNSW32,Flat ef 128": lambda: Faiss(dim, "HNSW32,Flat", efSearch=128),
        "hnswlib M16 ef 128": lambda: Hnswlib(dim, 128),
        "usearch M16 ef 128": lambda: Usearch(dim, 128),
    }
    return {name: make for name, make in field.items() if not only or name.startswith(tuple(only))}
