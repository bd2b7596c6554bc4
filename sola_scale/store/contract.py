"""The Store contract: the truth of every edit, whatever holds it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sola_scale.store.changes import KeyBlock, LogEntry, Transition
from sola_scale.store.records import EditFilter, EditRecord, KeyRows, NewEdit, Operation, StoreManifest
from sola_scale.store.reports import StoreStats, VerifyReport

Visit: TypeAlias = Callable[[int, memoryview], None]
"""Called with an edit id and its weights, a view that dies when the call returns."""


class Store(ABC):
    """Every edit's record, keys, weights and history; one writer, any number of readers.

    Every verb that changes something is one durable transaction: it has happened when the call returns and has
    not happened at all when it raises. Unknown ids raise before anything changes. Asking for what is so already
    changes nothing and writes no log entry. Methods may be called from any thread.
    """

    @property
    @abstractmethod
    def manifest(self) -> StoreManifest:
        """What the store is bound to."""

    @property
    @abstractmethod
    def last_seq(self) -> int:
        """Sequence number of the newest log entry, 0 in a fresh store."""

    @property
    @abstractmethod
    def next_edit_id(self) -> int:
        """The id the next written edit gets."""

    @property
    @abstractmethod
    def calibration(self) -> int | None:
        """Id of the calibration of all keys; None before the first write."""

    # --- verbs ---------------------------------------------------------------------------------------------

    @abstractmethod
    def write(self, edits: Sequence[NewEdit]) -> Transition:
        """Store edits: records, keys, weights, chains and log entry in one transaction.

        An edit may supersede one that stands earlier in the same batch: ids are given in order from
        `next_edit_id`.

        Raises:
            RequestError: An edit is malformed; the text names its place in the batch.
            CalibrationError: Keys of another calibration or of other widths than the store's.
            UnknownEditError: An edit supersedes one that does not exist.
            StoreFullError: The disk or the map is full.
        """

    @abstractmethod
    def revoke(self, ids: Iterable[int]) -> Transition:
        """Stop edits; each one's predecessor, if any is left, comes back. Reversible; a quarantined edit stays so."""

    @abstractmethod
    def restore(self, ids: Iterable[int]) -> Transition:
        """Undo `revoke` and `quarantine`; the newest eligible edit of each chain is live again.

        Raises:
            EditStateError: An edit is purged, or its weights or keys are damaged.
        """

    @abstractmethod
    def purge(self, ids: Iterable[int]) -> Transition:
        """Erase text, weights and keys of edits for good; `compact` then removes the bytes from the file."""

    @abstractmethod
    def quarantine(self, ids: Iterable[int], reason: str) -> Transition:
        """Stop edits that are damaged, and say why in their history.

        Raises:
            EditStateError: An edit is purged.
        """

    @abstractmethod
    def rehearse(self, operation: Operation, ids: Iterable[int]) -> Transition:
        """What revoking, restoring or purging these edits would do, or raise; nothing is changed."""

    @abstractmethod
    def recalibrate(
        self, calibration: int, rows: Iterable[tuple[int, KeyRows]], blobs: Mapping[str, bytes] | None = None
    ) -> Transition:
        """Exchange the keys of all edits; until the last step the old keys serve, and an interruption keeps them.

        Args:
            calibration: Id of the calibration that made the new keys.
            rows: Edit id and new keys, for every edit that is live, superseded or revoked; pulled lazily, and
                writes may go on meanwhile (their rows must then come too).
            blobs: Stored in the same last transaction, such as the calibration itself.

        Raises:
            EditStateError: An edit got no rows, or another recalibration is under way; the old keys stay.
        """

    # --- records -------------------------------------------------------------------------------------------

    @abstractmethod
    def record(self, edit_id: int) -> EditRecord:
        """One edit's record; raises UnknownEditError or CorruptRecordError."""

    @abstractmethod
    def records(self, where: EditFilter | None = None) -> Iterator[EditRecord]:
        """Records in ascending order of id; reads a page at a time, so a slow caller blocks nothing."""

    @abstractmethod
    def find_prompt(self, prompt: str) -> list[int]:
        """Ids of the edits with exactly this prompt, whatever their status but purged, ascending."""

    @abstractmethod
    def chain(self, edit_id: int) -> list[int]:
        """Ids of the chain an edit belongs to, oldest first."""

    # --- weights and keys ----------------------------------------------------------------------------------

    @abstractmethod
    def read_weights(self, ids: Iterable[int], visit: Visit) -> None:
        """Show each edit's checked weights to `visit` without a copy, all of one state of the store.

        Raises:
            UnknownEditError: No such edit.
            EditStateError: The edit is purged.
            CorruptRecordError: The weights fail their checksum; `edit_id` names the edit.
        """

    def weights(self, ids: Iterable[int]) -> list[bytes]:
        """Copies of the weights of edits, in the order asked; raises as `read_weights`."""
        found: list[bytes] = []
        self.read_weights(ids, lambda _, view: found.append(bytes(view)))
        return found

    @abstractmethod
    def verification(self, key_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float16], NDArray[np.uint64]]:
        """Verification vectors and owners of keys: float16 [n, width] and uint64 [n].

        A key that is active no more has owner 0 (no edit has that id) and a row of zeros: the index may be a
        moment behind.
        """

    @abstractmethod
    def owners(self, key_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Whose keys these are, uint64 [n]; 0 for a key that is not active."""

    @abstractmethod
    def keys(self, edit_id: int) -> KeyRows:
        """Copies of an edit's key vectors, active or not; raises as `read_weights`."""

    @abstractmethod
    def active_keys(self, block: int = 4096) -> Iterator[KeyBlock]:
        """All keys the index shall hold, ascending by key id, in blocks of about `block` keys.

        Each block is read in its own transaction. To build an index beside a writer: note `last_seq`, load the
        blocks, then apply `changes` since the noted number, leaving out key ids already loaded.
        """

    # --- log -----------------------------------------------------------------------------------------------

    @abstractmethod
    def log(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Log entries with a sequence number beyond `after`, ascending.

        Raises:
            LogTruncatedError: Entries after `after` were truncated: rebuild from `active_keys`.
        """

    @abstractmethod
    def changes(self, after: int, limit: int = 100) -> list[Transition]:
        """The same as transitions for an index; keys that went inactive later are left out of `activated`."""

    @property
    @abstractmethod
    def low_water(self) -> int:
        """Sequence number up to which the log was truncated."""

    @abstractmethod
    def truncate_log(self, before: int) -> int:
        """Forget log entries below `before`; returns how many. The newest entry always stays."""

    # --- blobs and settings --------------------------------------------------------------------------------

    @abstractmethod
    def put_blobs(self, blobs: Mapping[str, bytes | None]) -> None:
        """Store named byte strings, all or none; None deletes."""

    @abstractmethod
    def blob(self, name: str) -> bytes:
        """A named byte string, checked; raises KeyError or CorruptRecordError."""

    @abstractmethod
    def blobs(self) -> dict[str, int]:
        """Name → size of every blob."""

    @abstractmethod
    def put_settings(self, settings: Mapping[str, Any]) -> None:
        """Change settings (JSON-like values), all or none; None deletes."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All settings."""

    # --- care ----------------------------------------------------------------------------------------------

    @abstractmethod
    def stats(self) -> StoreStats:
        """Counts by status and bytes by table."""

    @abstractmethod
    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check every checksum and cross-reference; with `repair`, quarantine the damaged edits."""

    @abstractmethod
    def backup(self, path: Path | str) -> None:
        """Write a consistent copy of the store to a new folder while others read and write."""

    @abstractmethod
    def compact(self) -> int:
        """Rewrite the file without its free space and without what was purged; returns the bytes saved."""

    @abstractmethod
    def refresh(self) -> int:
        """Follow what other processes did, a compaction included; returns `last_seq`. Cheap."""

    @abstractmethod
    def close(self) -> None:
        """Release the store; closing twice is fine."""

    def put_blob(self, name: str, data: bytes) -> None:
        """Store one named byte string."""
        self.put_blobs({name: data})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
