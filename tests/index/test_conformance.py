"""Every implementation, and every tier of the index, passes the conformance suite."""

import pytest

from sola_index import BruteForceIndex, DeviceError, IndexConfig, KeyIndex, Metric, NearestKeyIndex
from sola_index.gpu import cuda_device
from sola_index.testing import IndexConformance, NumpyDevice


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


class MirroredIndex(KeyIndex):
    """An index with a numpy device in front, so that ``load`` of the suite makes one too."""

    settings = IndexConfig(scan_from=256, lists_from=512, tail=16, background=False)

    def __init__(self, dim, metric="cosine", config=None, device=None):
        super().__init__(dim, metric, config or self.settings, device or NumpyDevice())


class MirroredCloneIndex(MirroredIndex):
    """The same, on a device that is full at 300 keys and goes on with an IVF clone."""

    settings = IndexConfig(scan_from=256, lists_from=512, tail=16, device_flat=300, background=False)


class TestDeviceFlat(IndexConformance):
    """Candidates by brute force on a device."""

    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """An index with a numpy device."""
        return MirroredIndex(dim, metric)


class TestDeviceClone(IndexConformance):
    """Candidates from an IVF clone on a device."""

    size = 900

    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """An index with a small numpy device."""
        return MirroredCloneIndex(dim, metric)


@pytest.mark.gpu
class TestCuda(IndexConformance):
    """Candidates by faiss's brute-force kernel on a real GPU."""

    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """An index with a CUDA device."""
        try:
            return KeyIndex(dim, metric, device=cuda_device())
        except DeviceError as error:
            pytest.skip(str(error))
