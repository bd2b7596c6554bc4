"""The table of full keys: append-only rows in id order, with the live bitmap that has the last word."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from sola_index.contract import Floats, Ids, Rows
from sola_index.distances import squared_distances
from sola_index.errors import KeyIndexError, UnknownIdError

# Shapes: N rows, D dimensions, C candidate rows.
FIRST_CAPACITY = 1024
MOST_ROWS = 2**31 - 1
"""Row numbers take 32 bits, with a sign, where candidates are ranked."""

Scalar = TypeVar("Scalar", bound=np.generic)


class Block(NamedTuple):
    """A run of consecutive rows."""

    start: int
    keys_ND: Floats
    squared_norms_N: Floats


class KeyTable:
    """Ids, keys and liveness, row by row; one writer at a time, any number of readers without a lock.

    Rows are only ever appended and ids only ever grow, so the id column is sorted and finding a row is a binary
    search: no hash map. Keys lie in two parts: an immutable base (which may be a mapped file) and a tail that grows
    by doubling. Untouched memory of the tail is never resident. A reader takes ``count`` first; every array it looks
    at afterwards holds at least that many rows.
    """

    def __init__(self, dim: int, base_keys_ND: Floats | None = None) -> None:
        self.dim = dim
        self.base_ND: Floats = np.empty((0, dim), np.float32) if base_keys_ND is None else base_keys_ND
        self.tail_ND: Floats = np.empty((FIRST_CAPACITY, dim), np.float32)
        capacity = len(self.base_ND) + FIRST_CAPACITY
        self.ids_N: Ids = np.empty(capacity, np.uint64)
        self.live_N: npt.NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.squared_norms_N: Floats = np.empty(capacity, np.float32)
        self.count = 0
        self.live_count = 0
        self.base_file: Any = None
        """Where the base is mapped from, for whoever mapped it."""

    @classmethod
    def over_base(
        cls, base_ND: Floats, ids_N: Ids, live_N: npt.NDArray[np.bool_], squared_N: Floats
    ) -> "KeyTable":
        """A table whose rows are ``base_ND`` as it stands, not copied."""
        table = cls(base_ND.shape[1], base_ND)
        count = len(base_ND)
        table.ids_N[:count] = ids_N
        table.live_N[:count] = live_N
        table.squared_norms_N[:count] = squared_N
        table.live_count = int(np.count_nonzero(live_N))
        table.count = count
        return table

    def append(self, ids_N: Ids, keys_ND: Floats) -> None:
        """Append checked rows; they become visible together, when ``count`` moves."""
        start, end = self.count, self.count + len(ids_N)
        if end > MOST_ROWS:
            raise KeyIndexError(f"an index holds at most {MOST_ROWS} rows")
        self._reserve(end)
        base = len(self.base_ND)
        self.ids_N[start:end] = ids_N
        self.tail_ND[start - base : end - base] = keys_ND
        self.squared_norms_N[start:end] = np.einsum("nd,nd->n", keys_ND, keys_ND)
        self.live_N[start:end] = True
        self.live_count += len(ids_N)
        self.count = end

    def _reserve(self, rows: int) -> None:
        if rows <= len(self.ids_N):
            return
        capacity = max(rows, len(self.base_ND) + 2 * len(self.tail_ND))
        self.tail_ND = _grown(self.tail_ND, capacity - len(self.base_ND))
        self.ids_N = _grown(self.ids_N, capacity)
        self.squared_norms_N = _grown(self.squared_norms_N, capacity)
        self.live_N = _grown(self.live_N, capacity)

    def rows_of(self, ids_N: Ids) -> Rows:
        """Rows of live ids.

        Raises:
            UnknownIdError: an id was never added or is removed.
        """
        rows_N, known_N = self._find(ids_N)
        if not known_N.all():
            missing = ids_N[~known_N]
            raise UnknownIdError(f"{len(missing)} ids are not in the index, the first of them {missing[0]}")
        return rows_N

    def known_rows(self, ids_N: Ids) -> Rows:
        """Rows of those ids that are live; the others are left out."""
        rows_N, known_N = self._find(ids_N)
        return rows_N[known_N]

    def contains(self, ids_N: Ids) -> npt.NDArray[np.bool_]:
        """Which ids are live."""
        return self._find(ids_N)[1]

    def _find(self, ids_N: Ids) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """Where each id is or would be, and whether it is there and live."""
        count = self.count
        rows_N = self.ids_N[:count].searchsorted(ids_N)
        if not count:
            return rows_N, np.zeros(len(ids_N), np.bool_)
        nearby_N = np.minimum(rows_N, count - 1)
        return rows_N, (self.ids_N[nearby_N] == ids_N) & self.live_N[nearby_N]

    def kill(self, rows_N: Rows) -> None:
        """Mark distinct live rows dead."""
        self.live_N[rows_N] = False
        self.live_count -= len(rows_N)

    def live_rows(self, start: int, end: int) -> Rows:
        """Live rows of ``start:end``, ascending; safe beside a writer."""
        # numpy counts, then fills: on a bitmap that loses a bit in between, the last rows would be uninitialised memory.
        return start + np.flatnonzero(self.live_N[start:end].copy())

    def gather(self, rows_C: Rows) -> Floats:
        """Copies of the keys of these rows, float32 [C, D]."""
        base = len(self.base_ND)
        if base == 0:
            return self.tail_ND[rows_C]
        in_base_C = rows_C < base
        if in_base_C.all():
            return np.asarray(self.base_ND[rows_C])
        keys_CD = np.empty((len(rows_C), self.dim), np.float32)
        keys_CD[in_base_C] = self.base_ND[rows_C[in_base_C]]
        keys_CD[~in_base_C] = self.tail_ND[rows_C[~in_base_C] - base]
        return keys_CD

    def squared_distances(self, queries_MD: Floats, rows_MC: Rows) -> Floats:
        """Squared distances of rows, float32 [M, C], infinite at row -1; see `sola_index.distances`."""
        base = len(self.base_ND)
        if base == 0:
            return squared_distances(queries_MD, self.tail_ND, rows_MC)
        if base == self.count:
            return squared_distances(queries_MD, self.base_ND, rows_MC)
        in_tail_MC = rows_MC >= base
        if not in_tail_MC.any():
            return squared_distances(queries_MD, self.base_ND, rows_MC)
        in_base_MC = squared_distances(queries_MD, self.base_ND, np.where(in_tail_MC, -1, rows_MC))
        beyond_MC = squared_distances(queries_MD, self.tail_ND, np.where(in_tail_MC, rows_MC - base, -1))
        return np.minimum(in_base_MC, beyond_MC)

    def blocks(self, start: int, end: int, size: int) -> Iterator[Block]:
        """Runs of at most ``size`` rows covering ``start:end``, dead rows included, without copying."""
        base = len(self.base_ND)
        while start < end:
            stop = min(end, start + size, base) if start < base else min(end, start + size)
            keys_ND = self.base_ND[start:stop] if start < base else self.tail_ND[start - base : stop - base]
            yield Block(start, keys_ND, self.squared_norms_N[start:stop])
            start = stop

    @property
    def nbytes_beside_keys(self) -> int:
        """Bytes in use beside the keys themselves."""
        return self.count * (8 + 4 + 1)


def _grown(array: npt.NDArray[Scalar], rows: int) -> npt.NDArray[Scalar]:
    """A longer copy; what is beyond the old rows is untouched memory."""
    longer = np.empty((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
