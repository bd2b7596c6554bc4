"""The compressed lists tier: codes in Voronoi cells, as many of them looked into as the query's difficulty asks."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sola_index.backend import faiss
from sola_index.compressed import CompressedTier, Measures, code_errors, restore_parts, sub_quantizers
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Rows
from sola_index.exact import rounding
from sola_index.frame import Frame
from sola_index.shortlist import Shortlist

# Shapes: M queries, N keys, D dimensions, Z dimensions of the frame, L lists, R candidates a query.
ListNumbers = npt.NDArray[np.int64]
ITERATIONS = 10
FAR = 3.0
"""A nearest key whose squared distance is more than this multiple of a code's squared error is far."""

FEWEST_LISTS = 8
SECOND_CHOICES = 8
"""Lists near a key that its second list is chosen from."""

SOAR_WEIGHT = 0.5
"""What a residual parallel to the first costs, beside its length."""

KEYS_A_LIST = 40
"""Rows of the sample per list: k-means gains little from more."""


def lists_for(rows: int) -> int:
    """A power of two near twice the square root of the rows: cost of choosing lists and of scanning them balance."""
    return int(2 ** round(np.log2(2 * np.sqrt(max(rows, 64)))))


class ListsTier(CompressedTier):
    """Product codes in the list of the nearest centroid and in a second one; hard queries look into more lists."""

    name: ClassVar[str] = "lists"

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.centroids_LZ: Floats = self.codes.quantizer.reconstruct_n(0, self.codes.nlist)
        self._quantizer = self.codes.quantizer
        self._products_LL: Floats = self.centroids_LZ @ self.centroids_LZ.T
        self._squared_L: Floats = np.einsum("lz,lz->l", self.centroids_LZ, self.centroids_LZ)
        self.trained_imbalance = 0.0
        self.set_radii(np.zeros(self.codes.nlist, np.float32))

    def set_radii(self, radius_L: Floats) -> None:
        """Take the typical distance between the keys of each list and its centroid."""
        self.radius_L = radius_L
        self._small_radius = float(np.quantile(radius_L, 0.1))

    @classmethod
    def train(cls, config: IndexConfig, sample_ND: Floats, rows: int) -> "ListsTier":
        """An empty tier fitted to a sample of the ``rows`` keys it is made for."""
        frame = Frame.fit(sample_ND, config.seed)
        sample_NZ = frame(sample_ND)
        lists = min(lists_for(rows), len(sample_NZ) // KEYS_A_LIST)
        quantizer = faiss.IndexFlatL2(frame.width)
        codes = faiss.IndexIVFPQFastScan(quantizer, frame.width, lists, sub_quantizers(frame), 4)
        codes.by_residual = False  # one lookup table for all lists instead of one each
        codes.cp.niter, codes.cp.seed, codes.pq.cp.seed = ITERATIONS, config.seed, config.seed
        codes.cp.max_points_per_centroid = 4 * KEYS_A_LIST
        codes.train(sample_NZ)
        error = float(code_errors(codes.pq, sample_NZ).mean())
        tier = cls(
            config,
            sample_ND.shape[1],
            frame,
            codes,
            Measures(trained_on=rows, trained_error=error, recent_error=error),
        )
        tier.fit_radii(sample_NZ)
        return tier

    def fit_radii(self, sample_NZ: Floats) -> None:
        """Measure the lists' typical radii and their imbalance on the sample."""
        squared_N1, list_N1 = self.codes.quantizer.search(sample_NZ, 1)
        count_L = np.bincount(list_N1[:, 0], minlength=self.codes.nlist)
        sum_L = np.bincount(list_N1[:, 0], squared_N1[:, 0], minlength=self.codes.nlist)
        typical = float(squared_N1.mean())
        # A list that the sample hardly knows borrows the radius of all.
        self.set_radii(np.sqrt((sum_L + typical) / (count_L + 1)).astype(np.float32))
        self.trained_imbalance = imbalance(count_L)

    def propose(self, shortlists: list[Shortlist], queries_MD: Floats, dead_share: float, k: int) -> None:
        """Look into the nearest lists; then, for each query, into those that could still hold a nearer key."""
        queries_MZ = self.frame(queries_MD)
        # Squared distances to the centroids, less the query's own squared length: the order is the same.
        score_ML = self._squared_L - 2.0 * (queries_MZ @ self.centroids_LZ.T)
        first = min(max(FEWEST_LISTS, int(self.config.first_share * self.codes.nlist)), self.codes.nlist)
        nearest_ML = score_ML.argpartition(first - 1, axis=1)[:, :first]
        shallow, deep = self.depths(dead_share, k)
        _, rows_MR = self.scan(queries_MZ, shallow, nearest_ML)
        hard: list[int] = []
        more: list[ListNumbers] = []
        for query, shortlist in enumerate(shortlists):
            shortlist.offer(rows_MR[query])
            lists_L = self._promising(queries_MZ[query], score_ML[query], shortlist.nearest_squared)
            if len(lists_L):
                hard.append(query)
                more.append(lists_L)
        if hard:
            # Where even the nearest is far, all distances are alike, and codes tell them apart less well.
            farthest = max(shortlists[query].nearest_squared for query in hard)
            depth = deep if farthest < FAR * self.measures.trained_error else min(2 * deep, 2 * self.covered)
            _, rows_MR = self.scan(queries_MZ[hard], depth, _padded(more))
            for query, rows_R in zip(hard, rows_MR, strict=True):
                shortlists[query].offer(rows_R)

    def _promising(self, query_Z: Floats, score_L: Floats, nearest_squared: float) -> ListNumbers:
        """Lists where a key at the typical radius and slant would be nearer than the nearest found.

        By the law of cosines such a key lies at ``D^2 + r^2 - 2 cos D r`` from the query, D its distance to the
        centroid; whatever D, that is at least ``r^2 (1 - cos^2)``. Easy queries have found a key nearer than that for
        nine tenths of the lists and are spared the work.
        """
        if nearest_squared < self._small_radius**2 * (1.0 - self.config.slant**2):
            return _NONE
        squared_L = np.maximum(score_L + query_Z @ query_Z, 0.0)
        slanted_L = squared_L + self.radius_L * (self.radius_L - 2.0 * self.config.slant * np.sqrt(squared_L))
        lists_L = np.flatnonzero(slanted_L <= nearest_squared)
        most = max(1, int(self.config.most_lists * self.codes.nlist))
        if len(lists_L) > most:
            lists_L = lists_L[slanted_L[lists_L].argpartition(most - 1)[:most]]
        return lists_L

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
        parameters = faiss.SearchParametersIVF(nprobe=probes)
        pointer = faiss.swig_ptr
        self.codes.search_preassigned_c(
            queries, pointer(queries_MZ), depth, pointer(lists_ML), pointer(coarse_ML),
            pointer(squared_MR), pointer(rows_MR), False, parameters,
        )  # fmt: skip
        return squared_MR, rows_MR

    def _append(self, start: int, keys_NZ: Floats) -> None:
        rows_N = np.arange(start, start + len(keys_NZ), dtype=np.int64)
        self.codes.add_with_ids(keys_NZ, rows_N)
        # faiss asks a quantizer for one list a key. For the second lists it is handed one that knows these very keys by
        # heart: the nearest of them to a key is the key itself, and its label is the list.
        by_heart = faiss.IndexIDMap(faiss.IndexFlatL2(self.frame.width))
        by_heart.add_with_ids(keys_NZ, self.second_lists(keys_NZ))
        self.codes.quantizer = by_heart
        try:
            self.codes.add_with_ids(keys_NZ, rows_N)
        finally:
            self.codes.quantizer = self._quantizer

    def second_lists(self, keys_NZ: Floats) -> ListNumbers:
        """The list besides the nearest that finds a key most often where the nearest does not, int64 [N].

        SOAR (Sun et al. 2023, eq. 9): the residual r' to the second centroid is to be short, and orthogonal to the
        residual r to the first: least ``|r'|^2 + weight (r.r')^2 / |r|^2``.
        """
        inner_NL = keys_NZ @ self.centroids_LZ.T
        near = min(SECOND_CHOICES, self.codes.nlist)
        near_NJ = (self._squared_L - 2.0 * inner_NL).argpartition(near - 1, axis=1)[:, :near]
        length_N1 = np.einsum("nz,nz->n", keys_NZ, keys_NZ)[:, None]
        inner_NJ = np.take_along_axis(inner_NL, near_NJ, 1)
        squared_NJ = length_N1 - 2.0 * inner_NJ + self._squared_L[near_NJ]
        order_NJ = squared_NJ.argsort(axis=1)
        near_NJ, inner_NJ, squared_NJ = (
            np.take_along_axis(part, order_NJ, 1) for part in (near_NJ, inner_NJ, squared_NJ)
        )
        first_N = near_NJ[:, 0]
        # (x - c) (x - c') from the products that are known already.
        crossed_NJ = length_N1 - inner_NJ[:, :1] - inner_NJ + self._products_LL[first_N[:, None], near_NJ]
        cost_NJ = squared_NJ + SOAR_WEIGHT * crossed_NJ**2 / np.maximum(squared_NJ[:, :1], 1e-12)
        cost_NJ[:, 0] = np.inf if near > 1 else 0.0
        chosen_N1 = np.take_along_axis(near_NJ, cost_NJ.argmin(axis=1)[:, None], 1)
        return np.ascontiguousarray(chosen_N1[:, 0], np.int64)

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `restore` makes the tier from again."""
        extra = np.array([self.trained_imbalance], np.float32)
        return {**super().dump(), "radii": np.concatenate([extra, self.radius_L])}

    @classmethod
    def restore(cls, config: IndexConfig, dim: int, arrays: dict[str, npt.NDArray[Any]]) -> "ListsTier":
        """The tier that gave these arrays."""
        frame, codes, measures, twins = restore_parts(dim, arrays)
        tier = cls(config, dim, frame, codes, measures, twins)
        tier.trained_imbalance = float(arrays["radii"][0])
        tier.set_radii(np.array(arrays["radii"][1:]))
        return tier

    @property
    def nbytes(self) -> int:
        """Bytes of codes with their row numbers, twins and centroids."""
        second = self.covered * self.codes.code_size
        coarse = 2 * self.centroids_LZ.nbytes + self._products_LL.nbytes
        return int(super().nbytes + second + 16 * self.covered + coarse)

    def sizes(self) -> npt.NDArray[np.int64]:
        """Rows in each list."""
        lists = self.codes.invlists
        return np.array([lists.list_size(number) for number in range(self.codes.nlist)], np.int64)


_NONE: ListNumbers = np.empty(0, np.int64)


def imbalance(count_L: npt.NDArray[Any]) -> float:
    """How many times more codes a random query's list holds than a list of average size; 1 is perfect."""
    total = float(count_L.sum())
    return float((count_L.astype(np.float64) ** 2).sum() * len(count_L) / total**2) if total else 1.0


def _padded(lists: list[ListNumbers]) -> ListNumbers:
    """Ragged list numbers as a rectangle, -1 at the end of short rows."""
    padded_ML = np.full((len(lists), max(len(row) for row in lists)), -1, np.int64)
    for row, numbers in zip(padded_ML, lists, strict=True):
        row[: len(numbers)] = numbers
    return padded_ML
