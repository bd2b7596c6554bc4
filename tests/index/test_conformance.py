"""Every implementation, and every tier of the index, passes the conformance suite."""

from sola_index import BruteForceIndex, IndexConfig, KeyIndex, Metric, NearestKeyIndex
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


class TestScan(IndexConformance):
    """The compressed scan tier, reached early."""

    size = 900

    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """An index that scans codes from 256 rows on."""
        return KeyIndex(dim, metric, IndexConfig(scan_from=256, tail=16, background=False))


class TestLists(IndexConformance):
    """The compressed lists tier, reached early, with rebuilds in the background."""

    size = 2500

    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """An index that keeps codes in lists from 512 rows on."""
        config = IndexConfig(scan_from=256, lists_from=512, growth=1.5, tail=16)
        return KeyIndex(dim, metric, config)

    def settle(self, index: NearestKeyIndex) -> None:
        """Wait for rebuilds."""
        assert isinstance(index, KeyIndex)
        index.settle()
