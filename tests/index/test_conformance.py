"""Both implementations of the contract pass its conformance suite."""

from sola_index import BruteForceIndex, KeyIndex, Metric, NearestKeyIndex
from sola_index.testing import IndexConformance


class TestBruteForce(IndexConformance):
    """The twin."""

    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """A twin."""
        return BruteForceIndex(dim, metric)


class TestFlat(IndexConformance):
    """Few keys: the exact flat tier."""

    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """An index in its first tier."""
        return KeyIndex(dim, metric)
