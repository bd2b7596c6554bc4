"""The live index: a key index that follows a store's change log, and is rebuilt from the store whenever in doubt."""

import logging
import threading
from pathlib import Path

import numpy as np

from sola_index import KeyIndex, SnapshotError
from sola_scale.errors import LogTruncatedError
from sola_scale.store import Activation, KeyBlock, Store, Transition

logger = logging.getLogger(__name__)

# Keys that may change before the index is written again in the background: reading them anew takes well under a second.
_SNAPSHOT_KEYS = 16_384


class LiveIndex:
    """The key index of one editor, kept in step with the store.

    The index on disk is a cache: a snapshot that is missing, damaged or of another width is answered by a rebuild.
    """

    def __init__(self, store: Store, *, dim: int, folder: Path | None = None) -> None:
        """Load the snapshot in ``folder`` and catch up, or rebuild."""
        self._store = store
        self._dim = dim
        self.folder = folder
        self._lock = threading.Lock()
        self._seq = 0
        self._snapshot_seq = 0
        self._unsaved = 0
        self._saving = threading.Thread()
        self.index = self._load() or self._rebuild()

    @property
    def seq(self) -> int:
        """Sequence number of the last log entry that the index has seen."""
        return self._seq

    def apply(self, transition: Transition) -> None:
        """Follow one transaction of the store, and those before it that other threads have not brought yet."""
        with self._lock:
            if transition.last_seq > self._seq + 1:
                self._catch_up()
            else:
                self._apply(transition)
        if self._unsaved > max(_SNAPSHOT_KEYS, len(self.index) // 4) and not self._saving.is_alive():
            self._saving = threading.Thread(target=self.snapshot, name="index-snapshot")
            self._saving.start()

    def refresh(self) -> set[int]:
        """Follow what other processes did; returns the edits that changed. Costs one look-up when nothing did."""
        if self._store.refresh() == self._seq:
            return set()
        with self._lock:
            return self._catch_up()

    def snapshot(self, *, force: bool = False) -> None:
        """Write the index beside the store, so that the next open need not rebuild it; nothing to do if it is there."""
        with self._lock:
            if self.folder is not None and (force or self._snapshot_seq != self._seq):
                self.index.snapshot(self.folder, self._seq)
                self._snapshot_seq = self._seq
                self._unsaved = 0

    def rebuild(self) -> None:
        """Throw the index away and build it from the store's keys."""
        with self._lock:
            self.index = self._rebuild()

    def compare(self) -> tuple[str, ...]:
        """Hold the index against the store's active keys; returns the differences, in sentences."""
        with self._lock:
            self._catch_up()
            blocks = list(self._store.active_keys())
            wanted = np.concatenate([block.key_ids for block in blocks]) if blocks else np.empty(0, np.uint64)
            missing, surplus = np.setdiff1d(wanted, self.index.ids), np.setdiff1d(self.index.ids, wanted)
            wrong = sum(self._wrong(block) for block in blocks)
        counts = (
            (len(missing), "missing from"),
            (len(surplus), "surplus in"),
            (wrong, "other than stored in"),
        )
        return tuple(f"{count} keys are {where} the index" for count, where in counts if count)

    def _wrong(self, block: KeyBlock) -> int:
        known = np.isin(block.key_ids, self.index.ids)
        held = self.index.keys_of(block.key_ids[known])
        return int((held != np.asarray(block.retrieval[known], dtype=np.float32)).any(axis=1).sum())

    def close(self) -> None:
        """Release the index, once a snapshot under way is written."""
        if self._saving.is_alive():
            self._saving.join()
        self.index.close()

    def _apply(self, transition: Transition) -> None:
        if transition.last_seq <= self._seq:
            return
        if transition.rebuild:
            self.index = self._rebuild()
            return
        self._unsaved += len(transition.deactivated) + sum(len(one.key_ids) for one in transition.activated)
        gone = [key_id for key_id in transition.deactivated.tolist() if key_id in self.index]
        if gone:
            self.index.remove(np.array(gone, dtype=np.uint64))
        newest = -1 if self.index.last_id is None else self.index.last_id
        # A rebuild beside a writer may have met keys that the log tells of only afterwards.
        fresh = sorted((one for one in transition.activated if one.key_ids[0] > newest), key=_first_key)
        if fresh:
            rows = np.concatenate([one.retrieval for one in fresh])
            self.index.add(np.concatenate([one.key_ids for one in fresh]), rows.astype(np.float32))
        self._seq = transition.last_seq

    def _catch_up(self) -> set[int]:
        changed: set[int] = set()
        try:
            while transitions := self._store.changes(self._seq):
                for transition in transitions:
                    changed.update(transition.edit_ids)
                    self._apply(transition)
        except LogTruncatedError:
            self.index = self._rebuild()
        return changed

    def _load(self) -> KeyIndex | None:
        if self.folder is None or not self.folder.exists():
            return None
        try:
            index, seq = KeyIndex.load(self.folder)
        except SnapshotError as error:
            logger.warning("the index snapshot cannot be used (%s); rebuilding it from the store", error)
            return None
        if index.dim != self._dim or seq > self._store.refresh():
            logger.warning(
                "the index snapshot is of another state of the store; rebuilding it from the store"
            )
            return None
        self.index, self._seq, self._snapshot_seq = index, seq, seq
        self._catch_up()
        return self.index

    def _rebuild(self) -> KeyIndex:
        index = KeyIndex(dim=self._dim, metric="l2")
        seq = self._store.refresh()
        for block in self._store.active_keys():
            index.add(block.key_ids, np.asarray(block.retrieval, dtype=np.float32))
        self._seq = seq
        return index


def _first_key(activation: Activation) -> int:
    return int(activation.key_ids[0])
