"""The reading half of the LMDB store; each call is one transaction on one unchanging state."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import StoreClosedError
from sola_scale.store import files, listing, queries, shelf
from sola_scale.store.bookkeeping import Counters, read_counters, read_layout, read_manifest
from sola_scale.store.changes import KeyBlock, LogEntry, Transition
from sola_scale.store.contract import Store, Visit
from sola_scale.store.environment import Environment, ReadScope
from sola_scale.store.measurement import measure
from sola_scale.store.prompts import PromptIndex
from sola_scale.store.records import EditFilter, EditRecord, KeyRows, StoreManifest
from sola_scale.store.reports import StoreStats


class LmdbReader(Store):
    """Everything that only reads."""

    def __init__(self, folder: Path, environment: Environment) -> None:
        self.path = folder
        self._environment: Environment | None = environment
        self._prompts = PromptIndex()
        with self._read() as txn:
            self._manifest = read_manifest(txn)

    def _open_environment(self) -> Environment:
        if self._environment is None:
            raise StoreClosedError(f"the store {self.path} is closed")
        return self._environment

    def _read(self) -> ReadScope:
        while True:
            environment = self._open_environment()
            try:
                return ReadScope(environment)
            except StoreClosedError:
                # Another thread may just have followed a compaction to the new file.
                if environment is self._environment:
                    raise

    @property
    def manifest(self) -> StoreManifest:
        """What the store is bound to."""
        return self._manifest

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest log entry."""
        return self._counters().last_seq

    @property
    def next_edit_id(self) -> int:
        """The id the next written edit gets."""
        return self._counters().next_edit

    @property
    def low_water(self) -> int:
        """Sequence number up to which the log was truncated."""
        return self._counters().low_water

    @property
    def calibration(self) -> int | None:
        """Id of the calibration of all keys."""
        with self._read() as txn:
            layout = read_layout(txn)
        return layout.calibration if layout else None

    def _counters(self) -> Counters:
        with self._read() as txn:
            return read_counters(txn)

    def record(self, edit_id: int) -> EditRecord:
        """One edit's record."""
        with self._read() as txn:
            return listing.read_record(txn, edit_id)

    def records(self, where: EditFilter | None = None) -> Iterator[EditRecord]:
        """Matching records in ascending order of id."""
        where = where or EditFilter()
        left = where.limit
        for page in self._record_pages(where):
            yield from page[:left]
            left = None if left is None else left - len(page)
            if left is not None and left <= 0:
                return

    def _record_pages(self, where: EditFilter) -> Iterator[list[EditRecord]]:
        if where.ids is not None:
            with self._read() as txn:
                page = listing.named_records(txn, where)
            yield page
            return
        after: int | None = where.after_id
        while after is not None:
            with self._read() as txn:
                page, after = listing.filtered_page(txn, where, after)
            yield page

    def find_prompt(self, prompt: str) -> list[int]:
        """Ids of the edits with exactly this prompt."""
        with self._read() as txn:
            return self._prompts.find(txn, prompt)

    def chain(self, edit_id: int) -> list[int]:
        """Ids of an edit's chain, oldest first."""
        with self._read() as txn:
            return queries.chain_of(txn, edit_id)

    def read_weights(self, ids: Iterable[int], visit: Visit) -> None:
        """Show each edit's checked weights to `visit`."""
        with self._read() as txn:
            queries.show_weights(txn, ids, visit)

    def verification(self, key_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float16], NDArray[np.uint64]]:
        """Verification vectors and owners of keys."""
        with self._read() as txn:
            return queries.verification_of(txn, key_ids)

    def owners(self, key_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Whose keys these are."""
        with self._read() as txn:
            return np.array(
                [edit_id for edit_id, _ in queries.owners_of(txn, key_ids.tolist())], dtype=np.uint64
            )

    def keys(self, edit_id: int) -> KeyRows:
        """Copies of an edit's key vectors."""
        with self._read() as txn:
            return queries.keys_of(txn, edit_id)

    def active_keys(self, block: int = 4096) -> Iterator[KeyBlock]:
        """All keys the index shall hold, in blocks."""
        start = 1
        while True:
            with self._read() as txn:
                found = queries.key_block(txn, start, block)
            if found is None:
                return
            yield found
            start = found.last + 1

    def log(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Log entries beyond `after`."""
        with self._read() as txn:
            return queries.log_entries(txn, after, limit)

    def changes(self, after: int, limit: int = 100) -> list[Transition]:
        """The same as transitions for an index."""
        with self._read() as txn:
            return [queries.transition_of(txn, entry) for entry in queries.log_entries(txn, after, limit)]

    def blob(self, name: str) -> bytes:
        """A named byte string."""
        with self._read() as txn:
            return shelf.read_blob(txn, name)

    def blobs(self) -> dict[str, int]:
        """Name → size of every blob."""
        with self._read() as txn:
            return shelf.blob_sizes(txn)

    def settings(self) -> dict[str, Any]:
        """All settings."""
        with self._read() as txn:
            return shelf.read_settings(txn)

    def stats(self) -> StoreStats:
        """Counts by status and bytes by table."""
        with self._read() as txn:
            return measure(txn, self.path / files.FILE_NAME)

    def readers(self) -> str:
        """LMDB's table of read transactions under way, of all processes, for people."""
        environment = self._open_environment()
        environment.clear_stale_readers()
        return environment.readers()
