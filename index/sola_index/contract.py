"""The contract of a revocable nearest-key index, and the shapes of its answers."""

import abc
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

# Shapes: M queries, N keys, D dimensions, K answers a query, H hits of all queries together.
Ids = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Metric = Literal["cosine", "l2"]

NO_ID = int(np.iinfo(np.uint64).max)
"""Stands in ``SearchResult.ids`` where fewer than k keys are live; its distance is infinite. Never a valid id."""


@dataclasses.dataclass(frozen=True, slots=True)
class SearchResult:
    """The nearest keys of each query, nearest first; equal distances are ordered by id."""

    ids: Ids
    """uint64 [M, K]; `NO_ID` fills the end of a row when fewer than k keys are live."""

    distances: Floats
    """float32 [M, K]; infinite where the id is `NO_ID`."""


@dataclasses.dataclass(frozen=True, slots=True)
class WithinResult:
    """Every key within a radius of each query, nearest first; equal distances are ordered by id."""

    offsets: npt.NDArray[np.int64]
    """int64 [M + 1]; the hits of query i lie at ``offsets[i]:offsets[i + 1]``."""

    ids: Ids
    """uint64 [H]."""

    distances: Floats
    """float32 [H]."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> tuple[Ids, Floats]:
        """The ids and distances of one query."""
        if not 0 <= query < len(self):
            raise IndexError(f"query {query} of {len(self)}")
        hits = slice(self.offsets[query], self.offsets[query + 1])
        return self.ids[hits], self.distances[hits]

    def __iter__(self) -> Iterator[tuple[Ids, Floats]]:
        return (self[query] for query in range(len(self)))


class NearestKeyIndex(abc.ABC):
    """A set of (id, key) pairs that answers nearest-key questions and forgets what is removed.

    Distances are ``1 - cosine`` of unit keys under ``"cosine"`` and Euclidean under ``"l2"``, always computed from the
    full float32 keys by direct subtraction, so a key's distance to itself is exactly zero.
    Ids are unsigned 64-bit, strictly increasing over the life of the index: an id that was removed never comes back.
    """

    dim: int
    metric: Metric

    @abc.abstractmethod
    def add(self, ids: Ids, keys: Floats) -> None:
        """Add keys; every one is findable when this returns.

        Args:
            ids: uint64 [N], strictly increasing and above every id ever added.
            keys: float32 [N, D], finite; unit length under ``"cosine"``.

        Raises:
            InvalidIdError: an id was used before, is out of order or equals `NO_ID`; nothing was added.
            InvalidKeyError: a key has the wrong width, dtype or length, or is not finite; nothing was added.
        """

    @abc.abstractmethod
    def remove(self, ids: Ids) -> None:
        """Remove keys for good; none of them is in any answer once this has returned.

        Args:
            ids: uint64 [N], without repetition.

        Raises:
            UnknownIdError: an id is not in the index; nothing was removed.
        """

    @abc.abstractmethod
    def search(self, queries: Floats, k: int, *, exact: bool = False) -> SearchResult:
        """Find the k nearest keys of each query.

        Args:
            queries: float32 [M, D] (or [D] for one query), under the same conditions as keys.
            k: answers a query, at least 1.
            exact: compare with every key instead of the likely ones.
        """

    @abc.abstractmethod
    def within(self, queries: Floats, radius: float) -> WithinResult:
        """Find every key at most ``radius`` away from each query: exactly what comparing with all keys would find."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of live keys."""

    @abc.abstractmethod
    def __contains__(self, key_id: object) -> bool:
        """Whether this id is live."""

    @property
    @abc.abstractmethod
    def ids(self) -> Ids:
        """The live ids, ascending; a copy."""

    @property
    @abc.abstractmethod
    def last_id(self) -> int | None:
        """The greatest id ever added, removed or not; None before the first."""

    @abc.abstractmethod
    def keys_of(self, ids: Ids) -> Floats:
        """The full keys of live ids, float32 [N, D]; a copy."""

    @abc.abstractmethod
    def stats(self) -> Any:
        """What the index holds and how it answers, for people to read."""

    @abc.abstractmethod
    def snapshot(self, path: Path | str, lsn: int) -> None:
        """Write the index to a folder, durably and at once or not at all.

        Args:
            path: the folder; made if missing.
            lsn: the sequence number of the last change of the caller's log that the index has seen.
        """

    @classmethod
    @abc.abstractmethod
    def load(cls, path: Path | str) -> tuple[Self, int]:
        """Read a snapshot: the index and the sequence number it was written with.

        Raises:
            SnapshotError: the snapshot is missing, damaged, incomplete or of another version.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Stop background work and let go of files; closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
