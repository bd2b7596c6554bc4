"""The compressed lists tier: codes in Voronoi cells, as many of them looked into as the query's difficulty asks."""

import functools
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
from sola_index.effort import first_codes, hard_codes, lists_holding
from sola_index.exact import rounding
from sola_index.frame import Frame
from sola_index.shortlist import Shortlist
from sola_index.single import OneQuery
from sola_index.spill import ListNumbers, Spill

# Shapes: M queries, H hard ones of them, N keys, D dimensions, Z dimensions of the frame, L lists, F nearest of them,
# R candidates a query.
ITERATIONS = 10
IN_ORDER = 11
"""The way of faiss that scans the lists in the order given: the nearest first set a limit that the others seldom pass."""

BLOCK = 64
"""Codes that faiss takes at once; with 64 in place of 32 a single query's scan of many lists takes a tenth less."""

COPIES = 2
"""Lists that a key's code is in."""

KEYS_A_LIST = 40
"""Rows of the sample per list: k-means gains little from more."""


def lists_for(rows: int) -> int:
    """A power of two near the square root of the codes.

    With so many lists the costs of choosing some of them, of entering these and of scanning them balance.
    """
    return int(2 ** int(np.log2(np.sqrt(COPIES * max(rows, 32))) + 0.5))


class ListsTier(CompressedTier):
    """Product codes in two lists each, the nearest centroid's and a `Spill`; hard queries look into more lists."""

    name: ClassVar[str] = "lists"

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.codes.implem = IN_ORDER
        self.lists = int(self.codes.nlist)
        self.centroids_LZ: Floats = self.codes.quantizer.reconstruct_n(0, self.codes.nlist)
        self._doubled_ZL: Floats = 2.0 * self.centroids_LZ.T
        self._squared_L: Floats = np.einsum("lz,lz->l", self.centroids_LZ, self.centroids_LZ)
        self._spill = Spill(self.codes, self.centroids_LZ)
        held = self.codes.invlists
        self.sizes_L = np.array([held.list_size(number) for number in range(self.lists)], np.int64)
        """Codes in each list."""
        self.trained_imbalance = 0.0

    @classmethod
    def train(cls, config: IndexConfig, sample_ND: Floats, rows: int) -> "ListsTier":
        """An empty tier fitted to a sample of the ``rows`` keys it is made for."""
        frame = Frame.fit(sample_ND)
        sample_NZ = frame(sample_ND)
        lists = min(lists_for(rows), len(sample_NZ) // KEYS_A_LIST)
        quantizer = faiss.IndexFlatL2(frame.width)
        codes = faiss.IndexIVFPQFastScan(
            quantizer, frame.width, lists, sub_quantizers(frame), 4, faiss.METRIC_L2, BLOCK
        )
        codes.by_residual = False  # one lookup table for all lists instead of one each
        codes.cp.niter, codes.cp.seed = ITERATIONS, config.seed
        set_training(codes.pq, config.seed)
        codes.cp.max_points_per_centroid = KEYS_A_LIST
        codes.train(sample_NZ)
        error = float(code_errors(codes.pq, sample_NZ).mean())
        tier = cls(
            config,
            sample_ND.shape[1],
            frame,
            codes,
            Measures(trained_on=rows, trained_error=error, recent_error=error),
        )
        both_2N = np.concatenate(tier._spill.lists_of(sample_NZ))
        tier.trained_imbalance = imbalance(np.bincount(both_2N, minlength=lists))
        return tier

    def propose(self, shortlist: Shortlist, dead_share: float, k: int) -> None:
        """Look into the nearest lists; then, for the queries whose nearest key so far is not near, into many more."""
        queries_MZ = self.frame(shortlist.queries_MD)
        nearest_ML, upto_ML = self._nearest(queries_MZ)
        depths = self.depths(dead_share, k)
        first_M = np.array([self._first(upto_L) for upto_L in upto_ML])
        rows_MR = self.scan(queries_MZ, depths.deep, _stretches(nearest_ML, 0 * first_M, first_M))[1]
        shortlist.offer(np.ascontiguousarray(rows_MR[:, : depths.shallow]))
        hard_H = self.hard(shortlist, self.config.nearness)
        if len(hard_H):
            near_H = shortlist.nearest_squared_M[hard_H].tolist()
            end_H = np.array([self._hard(*asked) for asked in zip(upto_ML[hard_H], near_H, strict=True)])
            more_HR = rows_MR[hard_H, depths.shallow :]
            further_HF = _stretches(nearest_ML[hard_H], first_M[hard_H], end_H)
            if further_HF.shape[1]:
                further_HR = self.scan(queries_MZ[hard_H], depths.further, further_HF)[1]
                more_HR = np.hstack([more_HR, further_HR])
            shortlist.offer_to(hard_H, np.ascontiguousarray(more_HR))

    def propose_one(self, one: OneQuery, dead_share: float, k: int) -> None:
        """The same for a single query."""
        query_Z = self.frame(one.query_1D)[0]
        nearest_L, upto_L = self._nearest(query_Z)
        depths = self.depths(dead_share, k)
        first = self._first(upto_L)
        rows_R = self._scan_one(query_Z, depths.deep, nearest_L[:first])
        squared = one.offer(rows_R[: depths.shallow])
        if squared > self.limit(self.config.nearness):
            more_R = rows_R[depths.shallow :].copy()
            end = self._hard(upto_L, squared)
            if end > first:
                further_R = self._scan_one(query_Z, depths.further, nearest_L[first:end])
                more_R = np.concatenate([more_R, further_R])
            one.offer(more_R)

    def _nearest(self, queries_MZ: Floats) -> tuple[ListNumbers, ListNumbers]:
        """The lists from the nearest on, and how many codes they hold up to each; [M, L] both, or [L] for one query."""
        # Squared distances to the centroids, less the query's own squared length: the order is the same.
        score_ML: Floats = queries_MZ @ self._doubled_ZL
        np.subtract(self._squared_L, score_ML, out=score_ML)
        nearest_ML = score_ML.argsort(axis=-1)
        return nearest_ML, self.sizes_L.take(nearest_ML).cumsum(axis=-1)

    def _first(self, upto_L: ListNumbers) -> int:
        """How many of the nearest lists every query looks into."""
        return lists_holding(upto_L, first_codes(self.config, COPIES * self.covered))

    def _hard(self, upto_L: ListNumbers, nearest_squared: float) -> int:
        """How many of the nearest lists a hard query looks into."""
        error = self.measures.trained_error
        return lists_holding(upto_L, hard_codes(self.config, COPIES * self.covered, nearest_squared, error))

    def _scan_one(self, query_Z: Floats, depth: int, lists_F: ListNumbers) -> Rows:
        """Rows of the nearest codes in the given lists; they are only good until this thread's next scan."""
        lists = len(lists_F)
        scratch = self.scratch
        scratch.hold(depth, lists)
        scratch.lists_L[:lists] = lists_F
        self.codes.search_preassigned_c(
            1, faiss.swig_ptr(query_Z), depth, scratch.lists, scratch.coarse,
            scratch.squared, scratch.rows, False, looking_into(lists),
        )  # fmt: skip
        return scratch.rows_R[:depth]

    def reachable(self, query_Z: Floats, radius: float) -> ListNumbers | None:
        """Lists that the bisector bound cannot exclude.

        Keys of list j lie on centroid j's side of the plane halfway to the centroid nearest to the query, which is
        ``(D_j^2 - D_0^2) / (2 |c_0 - c_j|)`` away from the query. Rounding of both sides is allowed for.
        """
        squared_L = np.maximum(self._squared_L + query_Z @ query_Z - 2.0 * (self.centroids_LZ @ query_Z), 0.0)
        nearest = int(squared_L.argmin())
        apart_L = (
            self._squared_L
            + self._squared_L[nearest]
            - 2.0 * (self.centroids_LZ @ self.centroids_LZ[nearest])
        )
        longest = max(self.measures.longest, float(query_Z @ query_Z), float(self._squared_L.max()))
        error = 2.0 * rounding(self.frame.width) * longest
        gap_L = squared_L - squared_L[nearest] - 4.0 * error
        reached_L = gap_L <= 2.0 * radius * np.sqrt(np.maximum(apart_L, 0.0) + error)
        lists_L = np.flatnonzero(reached_L)
        return lists_L if 2 * len(lists_L) <= self.codes.nlist else None

    def scan(
        self, queries_MZ: Floats, depth: int, lists_ML: npt.NDArray[np.int64] | None
    ) -> tuple[Floats, Rows]:
        """Nearest among the codes of the given lists; a list number of -1 is skipped."""
        if lists_ML is None:
            raise ValueError("the lists tier is asked for lists")
        queries_MZ = np.ascontiguousarray(queries_MZ, np.float32)
        lists_ML = np.ascontiguousarray(lists_ML, np.int64)
        queries, probes = lists_ML.shape
        squared_MR = np.empty((queries, depth), np.float32)
        rows_MR = np.empty((queries, depth), np.int64)
        coarse_ML = np.zeros((queries, probes), np.float32)
        pointer = faiss.swig_ptr
        self.codes.search_preassigned_c(
            queries, pointer(queries_MZ), depth, pointer(lists_ML), pointer(coarse_ML),
            pointer(squared_MR), pointer(rows_MR), False, looking_into(probes),
        )  # fmt: skip
        return squared_MR, rows_MR

    def _append(self, start: int, keys_NZ: Floats) -> None:
        rows_N = np.arange(start, start + len(keys_NZ), dtype=np.int64)
        self.codes.add_with_ids(keys_NZ, rows_N)
        lists_N = self._spill.add(keys_NZ, rows_N)
        self.sizes_L += np.bincount(lists_N, minlength=self.lists)

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `restore` makes the tier from again."""
        return {**super().dump(), "imbalance": np.array([self.trained_imbalance], np.float32)}

    @classmethod
    def restore(cls, config: IndexConfig, dim: int, arrays: dict[str, npt.NDArray[Any]]) -> "ListsTier":
        """The tier that gave these arrays."""
        frame, codes, measures, twins = restore_parts(dim, arrays)
        tier = cls(config, dim, frame, codes, measures, twins)
        tier.trained_imbalance = float(arrays["imbalance"][0])
        return tier

    @property
    def nbytes(self) -> int:
        """Bytes of codes with their row numbers, both times, of twins, centroids and the centroids' products."""
        again = (COPIES - 1) * self.covered * self.codes.code_size
        return int(
            super().nbytes
            + again
            + 8 * COPIES * self.covered
            + 3 * self.centroids_LZ.nbytes
            + 4 * self.lists**2
        )


@functools.lru_cache(maxsize=4096)
def looking_into(lists: int) -> Any:
    """Search parameters of faiss that look into so many lists."""
    return faiss.SearchParametersIVF(nprobe=lists)


def imbalance(count_L: npt.NDArray[Any]) -> float:
    """How many times more codes a random query's list holds than a list of average size; 1 is perfect."""
    total = float(count_L.sum())
    return float((count_L.astype(np.float64) ** 2).sum() * len(count_L) / total**2) if total else 1.0


def _stretches(nearest_ML: ListNumbers, start_M: ListNumbers, end_M: ListNumbers) -> ListNumbers:
    """The lists from the start-th nearest to the end-th of each query, -1 after short stretches."""
    most = max(0, int((end_M - start_M).max()))
    place_MF = start_M[:, None] + np.arange(most)
    taken_MF = np.take_along_axis(nearest_ML, np.minimum(place_MF, nearest_ML.shape[1] - 1), 1)
    return np.where(place_MF < end_M[:, None], taken_MF, -1)
