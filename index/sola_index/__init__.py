"""A revocable nearest-key index: numpy and faiss, usable on its own."""

from sola_index.brute import BruteForceIndex
from sola_index.config import IndexConfig
from sola_index.contract import NO_ID, Metric, NearestKeyIndex, SearchResult, WithinResult
from sola_index.errors import (
    BackendError,
    ClosedIndexError,
    DeviceError,
    InvalidIdError,
    InvalidKeyError,
    KeyIndexError,
    SnapshotError,
    UnknownIdError,
)
from sola_index.index import KeyIndex
from sola_index.recovery import SnapshotWarning, load_or_rebuild
from sola_index.stats import IndexStats

__all__ = [
    "NO_ID",
    "BackendError",
    "BruteForceIndex",
    "ClosedIndexError",
    "DeviceError",
    "IndexConfig",
    "IndexStats",
    "InvalidIdError",
    "InvalidKeyError",
    "KeyIndex",
    "KeyIndexError",
    "Metric",
    "NearestKeyIndex",
    "SearchResult",
    "SnapshotError",
    "SnapshotWarning",
    "UnknownIdError",
    "WithinResult",
    "load_or_rebuild",
]
