"""The truth of every edit: the Store contract, the LMDB store and its in-memory twin."""

from sola_scale.store.changes import Activation, KeyBlock, KeySpan, LogEntry, Transition
from sola_scale.store.contract import Store
from sola_scale.store.lmdb_store import LmdbStore
from sola_scale.store.memory import MemoryStore
from sola_scale.store.records import (
    EditFilter,
    EditRecord,
    EditStatus,
    Event,
    KeyRows,
    NewEdit,
    Operation,
    StoreManifest,
)
from sola_scale.store.reports import Damage, StoreStats, TableStats, VerifyReport

__all__ = [
    "Activation",
    "Damage",
    "EditFilter",
    "EditRecord",
    "EditStatus",
    "Event",
    "KeyBlock",
    "KeyRows",
    "KeySpan",
    "LmdbStore",
    "LogEntry",
    "MemoryStore",
    "NewEdit",
    "Operation",
    "Store",
    "StoreManifest",
    "StoreStats",
    "TableStats",
    "Transition",
    "VerifyReport",
]
