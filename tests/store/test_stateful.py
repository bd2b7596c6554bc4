"""The LMDB store and its in-memory twin cannot be told apart, reopening and crashing included."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import hypothesis
from hypothesis.stateful import invariant, run_state_machine_as_test

from sola_scale.store import LmdbStore, Store
from sola_scale.store.changeset import Changeset
from sola_scale.store.header import check_file
from sola_scale.store.testing import Clock, sample_edit, sample_manifest
from sola_scale.store.testing.stateful import StoreMachine

EXAMPLES = int(os.environ.get("SOLA_STATEFUL_EXAMPLES", "8"))


class PowerCut(BaseException):
    """The end of the world, for one process."""


class LmdbMachine(StoreMachine):
    """The machine over a store in a folder."""

    def new_store(self, clock: Clock) -> Store:
        """A store in a fresh folder."""
        self.folder = Path(tempfile.mkdtemp())
        return LmdbStore.create(self.folder / "store", sample_manifest(), clock=clock)

    def reopened(self, store: Store, clock: Clock) -> Store:
        """Close and open."""
        store.close()
        return LmdbStore.open(self.folder / "store", clock=clock)

    def crashed(self, store: Store, clock: Clock) -> Store:
        """Die just before a commit, and leave everything as it lies on disk for another store to find."""
        calibration, now = store.calibration or 0, clock.now
        with patch.object(Changeset, "finish", side_effect=PowerCut), suppress(PowerCut):
            store.write([sample_edit(77, calibration=calibration)])
        clock.now = now
        image = self.folder / "image"
        shutil.copytree(self.folder / "store", image)
        store.close()
        shutil.rmtree(self.folder / "store")
        image.rename(self.folder / "store")
        return LmdbStore.open(self.folder / "store", clock=clock)

    @invariant()
    def file_is_as_long_as_it_says(self) -> None:
        """No transaction leaves the file ending before its last page: a shorter file may be called truncated."""
        if hasattr(self, "folder"):
            check_file(self.folder / "store" / "edits.lmdb")

    def teardown(self) -> None:
        """Check and clean up."""
        super().teardown()
        shutil.rmtree(self.folder, ignore_errors=True)


def test_lmdb_store_and_memory_twin_cannot_be_told_apart() -> None:
    """Random histories leave both stores, their logs and an index that follows in the same state."""
    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(LmdbMachine, settings=settings)  # type: ignore[no-untyped-call]
