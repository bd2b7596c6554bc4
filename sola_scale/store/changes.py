"""What a transaction changed: the log entry kept on disk and the transition handed to the index."""

from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from sola_scale.store.records import Operation

KeyIds: TypeAlias = NDArray[np.uint64]
"""Ids of keys as the index knows them, uint64 [n]."""


def no_keys() -> KeyIds:
    """An empty list of key ids."""
    return np.empty(0, dtype=np.uint64)


class KeySpan(msgspec.Struct, frozen=True, array_like=True):
    """The consecutive key ids that one activation of an edit got."""

    edit_id: int
    """Whose keys they are."""
    first: int
    """The first key id."""
    count: int
    """How many."""

    @property
    def key_ids(self) -> KeyIds:
        """The ids themselves, uint64 [count]."""
        return np.arange(self.first, self.first + self.count, dtype=np.uint64)


class LogEntry(msgspec.Struct, frozen=True, array_like=True):
    """One transaction of the change log: what an index or a replica needs to follow."""

    seq: int
    """Sequence number; consecutive, from 1."""
    at: int
    """Nanoseconds since the epoch."""
    operation: Operation
    """What was asked."""
    edit_ids: tuple[int, ...]
    """The edits it was asked for and that changed."""
    deactivated: tuple[KeySpan, ...] = ()
    """Keys to take out of the index."""
    activated: tuple[KeySpan, ...] = ()
    """Keys to put into the index."""

    @property
    def rebuild(self) -> bool:
        """Whether all keys were exchanged, so that an index starts afresh."""
        return self.operation is Operation.RECALIBRATE


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """Keys that an edit got when it went live."""

    edit_id: int
    """Whose keys they are."""
    key_ids: KeyIds
    """Uint64 [n], never used before."""
    retrieval: NDArray[np.floating]
    """Float [n, retrieval width]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transition:
    """What the index must do so that it agrees with the store again."""

    operation: Operation
    """What was asked."""
    edit_ids: tuple[int, ...] = ()
    """The edits that changed; the new ids of a write, in the order given."""
    deactivated: KeyIds = field(default_factory=no_keys)
    """Key ids to take out of the index."""
    activated: tuple[Activation, ...] = ()
    """Keys to put into the index."""
    last_seq: int
    """Sequence number of the log after the change."""
    rebuild: bool = False
    """Whether all keys were exchanged: load `active_keys` instead of following the lists."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyBlock:
    """Some of the active keys, in ascending order of key id."""

    last: int
    """Greatest key id looked at, damaged ones included."""
    key_ids: KeyIds
    """Uint64 [n]."""
    edit_ids: NDArray[np.uint64]
    """Uint64 [n]: whose key each is."""
    retrieval: NDArray[np.floating]
    """Float [n, retrieval width]."""
    damaged: tuple[int, ...] = ()
    """Edits whose keys fail their checksum and are left out: quarantine them."""
