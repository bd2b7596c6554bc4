"""The conformance suite: what every store does, whatever holds it."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from sola_scale.store.contract import Store
from sola_scale.store.testing.reading_suite import ReadingSuite
from sola_scale.store.testing.upkeep_suite import UpkeepSuite
from sola_scale.store.testing.verbs_suite import VerbsSuite


class StoreConformance(VerbsSuite, ReadingSuite, UpkeepSuite):
    """Subclass it as `Test…` and give `new_store`; all tests use the contract alone."""

    @abstractmethod
    def new_store(self, folder: Path) -> Store:
        """A fresh store with the sample manifest; `folder` does not exist yet and may be used."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """A fresh store."""
        with self.new_store(tmp_path / "store") as store:
            yield store
