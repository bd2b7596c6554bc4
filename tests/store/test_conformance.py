"""Both stores pass the conformance suite that ships with the package."""

from pathlib import Path

from sola_scale.store import LmdbStore, MemoryStore, Store
from sola_scale.store.testing import Clock, StoreConformance, sample_manifest


class TestLmdbStore(StoreConformance):
    """The durable store."""

    def new_store(self, folder: Path) -> Store:
        """A fresh store in the folder."""
        return LmdbStore.create(folder, sample_manifest(), clock=Clock())


class TestMemoryStore(StoreConformance):
    """The in-memory twin."""

    def new_store(self, folder: Path) -> Store:
        """A fresh store."""
        return MemoryStore(sample_manifest(), clock=Clock())
