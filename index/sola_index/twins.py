"""Finding a key by its exact bits: what makes "an added id is found by its own key" certain in every tier."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sola_index.contract import Floats, Rows

# Shapes: N rows, D dimensions.
Hashes = npt.NDArray[np.uint64]
RowNumbers = npt.NDArray[np.uint32]
ZERO, FOLD = np.float32(0), np.uint64(29)
NONE: Rows = np.empty(0, np.int64)
FEW = 4096
"""Rows kept in the unsorted part before it is worth sorting them in."""


class _Parts(NamedTuple):
    """What a reader needs, replaced as one."""

    hashes_N: Hashes
    rows_N: RowNumbers
    recent: dict[int, list[int]]


class TwinTable:
    """Rows by a 64-bit hash of their key; lossy codes cannot tell near-duplicates apart, this can.

    A sorted column (12 bytes a row) and a small dictionary of recent rows, merged when the dictionary has grown to a
    sixteenth of the column.
    """

    def __init__(self, dim: int) -> None:
        self._multipliers_D = _multipliers(dim)
        self._parts = _Parts(np.empty(0, np.uint64), np.empty(0, np.uint32), {})
        self._recent = 0

    @classmethod
    def restore(cls, dim: int, hashes_N: Hashes, rows_N: RowNumbers) -> "TwinTable":
        """A table from what `columns` gave."""
        table = cls(dim)
        table._parts = _Parts(hashes_N, rows_N, {})
        return table

    def columns(self) -> tuple[Hashes, RowNumbers]:
        """The sorted hashes and their rows, after merging what is recent."""
        self._merge()
        return self._parts.hashes_N, self._parts.rows_N

    def extend(self, start: int, keys_ND: Floats) -> None:
        """Add the rows ``start, start + 1, ...``."""
        hashes_N = self._hash(keys_ND)
        if self._recent + len(hashes_N) > max(FEW, len(self._parts.rows_N) // 16):
            self._merge(hashes_N, np.arange(start, start + len(hashes_N), dtype=np.uint32))
            return
        for row, key_hash in enumerate(hashes_N.tolist(), start):
            self._parts.recent.setdefault(key_hash, []).append(row)
        self._recent += len(hashes_N)

    def matches(self, queries_MD: Floats) -> dict[int, Rows]:
        """Rows whose key may equal a query, ascending, by the query's number, ascending too; to be measured like others."""
        parts = self._parts
        hash_M = self._hash(queries_MD)
        found: dict[int, Rows] = {}
        if len(parts.hashes_N):
            first_M = parts.hashes_N.searchsorted(hash_M)
            known_M = parts.hashes_N.take(first_M, mode="clip") == hash_M
            for query in known_M.nonzero()[0].tolist():
                last = parts.hashes_N.searchsorted(hash_M[query], "right")
                found[query] = parts.rows_N[first_M[query] : last].astype(np.int64)
        if parts.recent:
            for query, key_hash in enumerate(hash_M.tolist()):
                recent = np.array(parts.recent.get(key_hash, []), np.int64)
                if len(recent):
                    found[query] = np.append(found.get(query, recent[:0]), recent)
        return dict(sorted(found.items()))

    def match(self, query_1D: Floats) -> Rows:
        """The same rows for a single query."""
        parts = self._parts
        sought = self._hash(query_1D)[0]
        recent = parts.recent.get(int(sought), ()) if parts.recent else ()
        first = parts.hashes_N.searchsorted(sought)
        if first == len(parts.hashes_N) or parts.hashes_N[first] != sought:
            return np.array(recent, np.int64) if recent else NONE
        last = parts.hashes_N.searchsorted(sought, "right")
        return np.append(parts.rows_N[first:last].astype(np.int64), np.array(recent, np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes in use; a dictionary entry counts as 150."""
        return self._parts.hashes_N.nbytes + self._parts.rows_N.nbytes + 150 * self._recent

    def _merge(self, *more: npt.NDArray[np.generic]) -> None:
        parts = self._parts
        recent = [(key_hash, row) for key_hash, rows in parts.recent.items() for row in rows]
        if not recent and not more:
            return
        added_hashes, added_rows = more or (np.empty(0, np.uint64), np.empty(0, np.uint32))
        hashes_N = np.concatenate(
            [parts.hashes_N, np.array([pair[0] for pair in recent], np.uint64), added_hashes]
        )
        rows_N = np.concatenate([parts.rows_N, np.array([pair[1] for pair in recent], np.uint32), added_rows])
        # A stable sort, so that rows of equal hashes stay in order; on two sorted runs it takes linear time.
        order_N = hashes_N.argsort(kind="stable")
        self._parts = _Parts(hashes_N[order_N].astype(np.uint64), rows_N[order_N].astype(np.uint32), {})
        self._recent = 0

    def _hash(self, keys_ND: Floats) -> Hashes:
        """Multilinear hash of the bits (Lemire and Kaser 2014), modulo 2^64."""
        # Adding zero turns -0.0 into 0.0: they are equal numbers with different bits.
        bits_ND = (keys_ND + ZERO).view(np.uint32).astype(np.uint64)
        mixed_N: Hashes = bits_ND.dot(self._multipliers_D)
        return mixed_N ^ (mixed_N >> FOLD)


def _multipliers(dim: int) -> Hashes:
    """Fixed odd multipliers: snapshots keep hashes, so these must never change."""
    return np.random.Generator(np.random.PCG64(20260311)).integers(0, 2**63, dim, np.uint64) * np.uint64(
        2
    ) + np.uint64(1)
