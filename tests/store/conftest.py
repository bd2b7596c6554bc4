"""Fixtures of the store's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sola_scale.store import LmdbStore
from sola_scale.store.testing import Clock, sample_manifest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    """A fresh durable store."""
    with LmdbStore.create(tmp_path / "store", sample_manifest(), clock=Clock()) as store:
        yield store
