"""What both compressed tiers share: 4-bit codes in a faiss FastScan index, and the error bound that certifies them."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from sola_index.backend import faiss
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Rows
from sola_index.exact import rounding
from sola_index.frame import GROUP, Frame
from sola_index.rwlock import ReadWriteLock
from sola_index.shortlist import Shortlist
from sola_index.single import OneQuery, Scratch
from sola_index.table import KeyTable
from sola_index.twins import TwinTable

# Shapes: M queries, N keys, D dimensions, Z dimensions of the frame, R candidates a query, L lists.
CHUNK = 512
"""Rows encoded under one hold of the write lock: a dozen milliseconds, at most, that a search may have to wait."""

DEEPEST = 4096
"""Candidates beyond which a certified question is better answered by scanning the full keys, if these are few."""

WORTH = 32
"""Full keys that are compared in a row in the time that a candidate takes."""


@dataclasses.dataclass(slots=True)
class Measures:
    """What is known of the rows in a tier; grows with them."""

    covered: int = 0
    """Rows of the table that are in the tier: the first ones."""
    trained_on: int = 0
    """Rows the table had when the tier was trained."""
    worst_error: float = 0.0
    """Greatest distance between a row and its code, in the frame."""
    longest: float = 0.0
    """Greatest squared length of a row in the frame."""
    trained_error: float = 0.0
    """Mean squared error of the codes of the training sample."""
    recent_error: float = 0.0
    """The same of recent rows, smoothed: it rises when the data drift away from the sample."""


class Depths(NamedTuple):
    """How many of the nearest codes to measure on the full keys."""

    shallow: int
    """At first."""
    deep: int
    """Of a hard query, those included."""
    further: int
    """In the further lists of a hard query."""


class CompressedTier(abc.ABC):
    """The first rows of a table as codes; candidates come from the codes, distances from the full keys."""

    name: ClassVar[str]

    def __init__(  # noqa: PLR0917 - the two tiers hand these through as they are
        self,
        config: IndexConfig,
        dim: int,
        frame: Frame,
        codes: Any,
        measures: Measures,
        twins: TwinTable | None = None,
    ) -> None:
        self.config = config
        self.dim = dim
        self.frame = frame
        self.codes = codes
        self.measures = measures
        self.twins = twins or TwinTable(dim)
        self.lock = ReadWriteLock()
        self.scratch = Scratch()

    @property
    def covered(self) -> int:
        """Rows of the table that the tier answers for."""
        return self.measures.covered

    def depths(self, dead_share: float, k: int) -> Depths:
        """How many codes to measure: more where many are dead or many are asked for."""
        config, covered = self.config, self.covered
        least = min(config.shallow, config.further, config.deep // 2)
        if not dead_share and 4 * k <= least and config.deep <= covered and config.further <= covered:
            return Depths(config.shallow, config.deep, config.further)
        stretch = 1.0 / (1.0 - min(dead_share, 0.9))
        shallow = min(int(max(config.shallow, 4 * k) * stretch), covered)
        deep = min(int(max(config.deep, 8 * k) * stretch), covered)
        return Depths(shallow, max(deep, shallow), min(int(max(config.further, 4 * k) * stretch), covered))

    def hard(self, shortlist: Shortlist, nearness: float) -> Rows:
        """Numbers of the queries whose nearest key so far is farther than so many typical errors of a code."""
        return (shortlist.nearest_squared_M > np.float32(self.limit(nearness))).nonzero()[0]

    def limit(self, nearness: float) -> float:
        """The square of so many typical errors of a code."""
        return nearness**2 * self.measures.trained_error

    @abc.abstractmethod
    def propose(self, shortlist: Shortlist, dead_share: float, k: int) -> None:
        """Offer likely near rows to the queries of a shortlist."""

    @abc.abstractmethod
    def propose_one(self, one: OneQuery, dead_share: float, k: int) -> None:
        """The same for a single query."""

    @abc.abstractmethod
    def reachable(self, query_Z: Floats, radius: float) -> npt.NDArray[np.int64] | None:
        """The lists that may hold a row within ``radius``; None where looking there saves nothing."""

    @abc.abstractmethod
    def scan(
        self, queries_MZ: Floats, depth: int, lists_ML: npt.NDArray[np.int64] | None
    ) -> tuple[Floats, Rows]:
        """The ``depth`` nearest codes of each query: squared distances [M, R] and rows [M, R], -1 where there are none."""

    def extend(self, table: KeyTable, end: int) -> None:
        """Encode the rows up to ``end``; searches go on between chunks."""
        while self.covered < end:
            block = next(table.blocks(self.covered, end, CHUNK))
            keys_NZ = self.frame(block.keys_ND)
            error_N = code_errors(self.codes.pq, keys_NZ)
            with self.lock.writing:
                self._append(block.start, keys_NZ)
                self.measures.covered += len(keys_NZ)
                self.twins.extend(block.start, block.keys_ND)
                self._measure(keys_NZ, error_N)

    @abc.abstractmethod
    def _append(self, start: int, keys_NZ: Floats) -> None:
        """Add codes of the rows ``start, start + 1, ...``."""

    def _measure(self, keys_NZ: Floats, error_N: Floats) -> None:
        known = self.measures
        known.worst_error = max(known.worst_error, float(np.sqrt(error_N.max())))
        known.longest = max(known.longest, float(np.einsum("nz,nz->n", keys_NZ, keys_NZ).max()))
        weight = min(1.0, len(error_N) / 8192)
        known.recent_error += weight * (float(error_N.mean()) - known.recent_error)

    def within(self, query_D: Floats, radius: float) -> Rows | None:
        """Every row that may lie within a (Euclidean) radius, certified; None where the full keys must be scanned.

        A key x with code y is at least ``|q - y| - |x - y|`` away from q, so all keys within r have codes within
        r + E of it, E the worst error of any code. If the scan's deepest candidate lies beyond that, none is missing.
        """
        query_Z = self.frame(query_D[None])
        # Rounding of the frame and of the codes' distances; a thousandth of a percent of the lengths involved.
        length = float(np.sqrt(np.einsum("mz,mz->m", query_Z, query_Z)[0]) + np.sqrt(self.measures.longest))
        reach = radius + rounding(self.dim) * length
        lists_L = self.reachable(query_Z[0], reach)
        if lists_L is None:
            return None
        limit = (
            (reach + self.measures.worst_error) ** 2
            + lookup_slack(self.codes.pq, query_Z)
            + rounding(self.dim) * length**2
        )
        depth = 64
        while depth <= max(DEEPEST, self.covered // WORTH):
            squared_MR, rows_MR = self.scan(query_Z, depth, lists_L[None])
            # Tables without any span (all codes equal) make faiss divide by zero: what is not a number is kept.
            found_R = (rows_MR[0] >= 0) & ~(squared_MR[0] > limit)
            if not found_R.all():
                return np.unique(rows_MR[0][found_R])
            depth *= 4
        return None

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `load` makes the tier from again."""
        hashes_N, rows_N = self.twins.columns()
        return {
            "codes": faiss.serialize_index(self.codes),
            **self.frame.dump(),
            "hashes": hashes_N,
            "hashed_rows": rows_N,
            "measures": np.array(dataclasses.astuple(self.measures), np.float64),
        }

    @property
    def nbytes(self) -> int:
        """Bytes of codes, row numbers and twins."""
        return int(self.covered * self.codes.code_size + self.twins.nbytes)


def restore_parts(dim: int, arrays: dict[str, npt.NDArray[Any]]) -> tuple[Frame, Any, Measures, TwinTable]:
    """What `CompressedTier.dump` gave, as objects."""
    frame = Frame.restore(dim, arrays)
    covered, trained_on, *rest = arrays["measures"].tolist()
    measures = Measures(int(covered), int(trained_on), *rest)
    twins = TwinTable.restore(dim, np.array(arrays["hashes"]), np.array(arrays["hashed_rows"]))
    return frame, faiss.deserialize_index(np.array(arrays["codes"])), measures, twins


def code_errors(quantizer: Any, keys_NZ: Floats) -> Floats:
    """Squared distances between keys and their codes, float32 [N]."""
    decoded_NZ = quantizer.decode(quantizer.compute_codes(keys_NZ))
    difference_NZ = keys_NZ - decoded_NZ
    return np.asarray(np.einsum("nz,nz->n", difference_NZ, difference_NZ), np.float32)


def lookup_slack(quantizer: Any, query_Z: Floats) -> float:
    """A bound on what FastScan's 8-bit lookup tables add to or take from a squared distance.

    faiss rounds each of the M table entries to a step of ``max_span / 255`` (or the span of the sum over 65535), so a
    sum of M entries is off by at most M half steps; a whole step each is allowed for here.
    """
    centroids_GCS = faiss.vector_to_array(quantizer.centroids).reshape(
        quantizer.M, quantizer.ksub, quantizer.dsub
    )
    difference_GCS = centroids_GCS - query_Z.reshape(quantizer.M, 1, quantizer.dsub)
    table_GC = np.einsum("gcs,gcs->gc", difference_GCS, difference_GCS)
    span_G = table_GC.max(1) - table_GC.min(1)
    return float(quantizer.M * max(span_G.max() / 255, span_G.sum() / 65535))


def set_training(quantizer: Any, seed: int) -> None:
    """How a product quantizer is to be trained: sixteen centroids a symbol have settled after ten rounds."""
    quantizer.cp.seed, quantizer.cp.niter = seed, 10


def sub_quantizers(frame: Frame) -> int:
    """Symbols a code has."""
    return frame.width // GROUP
