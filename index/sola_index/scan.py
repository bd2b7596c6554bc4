"""The compressed scan tier: every code is looked at, the best are measured on the full keys."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sola_index.backend import faiss
from sola_index.compressed import (
    CompressedTier,
    Measures,
    code_errors,
    restore_parts,
    set_training,
    sub_quantizers,
)
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Rows
from sola_index.frame import Frame
from sola_index.shortlist import Shortlist
from sola_index.single import OneQuery

# Shapes: M queries, H hard ones of them, N keys, D dimensions, Z dimensions of the frame, R candidates a query.
NO_LISTS: npt.NDArray[np.int64] = np.empty(0, np.int64)


class ScanTier(CompressedTier):
    """4-bit product codes without lists: exact in effect, linear, 32 bytes a key at 256 dimensions."""

    name: ClassVar[str] = "scan"

    @classmethod
    def train(cls, config: IndexConfig, sample_ND: Floats, rows: int) -> "ScanTier":
        """An empty tier fitted to a sample of the ``rows`` keys it is made for."""
        frame = Frame.fit(sample_ND)
        sample_NZ = frame(sample_ND)
        codes = faiss.IndexPQFastScan(frame.width, sub_quantizers(frame), 4)
        set_training(codes.pq, config.seed)
        codes.train(sample_NZ)
        error = float(code_errors(codes.pq, sample_NZ).mean())
        measures = Measures(trained_on=rows, trained_error=error, recent_error=error)
        return cls(config, sample_ND.shape[1], frame, codes, measures)

    @classmethod
    def restore(cls, config: IndexConfig, dim: int, arrays: dict[str, npt.NDArray[Any]]) -> "ScanTier":
        """The tier that gave these arrays."""
        return cls(config, dim, *restore_parts(dim, arrays))

    def propose(self, shortlist: Shortlist, dead_share: float, k: int) -> None:
        """Measure the nearest codes; scan again for more of them where the first ones are not near."""
        queries_MZ = self.frame(shortlist.queries_MD)
        shallow, deep, _ = self.depths(dead_share, k)
        shortlist.offer(self.scan(queries_MZ, shallow, None)[1])
        hard_H = self.hard(shortlist, self.config.scan_nearness)
        if len(hard_H) and deep > shallow:
            shortlist.offer_to(hard_H, self.scan(queries_MZ[hard_H], deep, None)[1])

    def propose_one(self, one: OneQuery, dead_share: float, k: int) -> None:
        """The same for a single query."""
        query_Z = self.frame(one.query_1D)[0]
        shallow, deep, _ = self.depths(dead_share, k)
        squared = one.offer(self._scan_one(query_Z, shallow))
        if squared > self.limit(self.config.scan_nearness) and deep > shallow:
            one.offer(self._scan_one(query_Z, deep))

    def _scan_one(self, query_Z: Floats, depth: int) -> Rows:
        """Rows of the nearest codes; they are only good until this thread's next scan."""
        scratch = self.scratch
        scratch.hold(depth)
        self.codes.search_c(1, faiss.swig_ptr(query_Z), depth, scratch.squared, scratch.rows)
        return scratch.rows_R[:depth]

    def reachable(self, query_Z: Floats, radius: float) -> npt.NDArray[np.int64] | None:
        """There are no lists to choose from."""
        del query_Z, radius
        return NO_LISTS

    def scan(
        self, queries_MZ: Floats, depth: int, lists_ML: npt.NDArray[np.int64] | None
    ) -> tuple[Floats, Rows]:
        """Nearest among all codes."""
        del lists_ML
        squared_MR = np.empty((len(queries_MZ), depth), np.float32)
        rows_MR = np.empty((len(queries_MZ), depth), np.int64)
        pointer = faiss.swig_ptr
        self.codes.search_c(
            len(queries_MZ), pointer(queries_MZ), depth, pointer(squared_MR), pointer(rows_MR)
        )
        return squared_MR, rows_MR

    def _append(self, start: int, keys_NZ: Floats) -> None:
        del start  # codes are numbered in the order they come, which is that of the rows
        self.codes.add(keys_NZ)
