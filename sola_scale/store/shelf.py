"""Blobs, settings and log truncation, each inside a transaction of its caller."""

from collections.abc import Mapping
from typing import Any

import msgspec

from sola_scale.errors import RequestError
from sola_scale.store.bookkeeping import decoded, read_counters, write_counters
from sola_scale.store.limits import MAX_BLOB, check_name
from sola_scale.store.tables import Table
from sola_scale.store.transaction import ReadTransaction, WriteTransaction
from sola_scale.store.values import OVERHEAD, pack_id


def put_blobs(txn: WriteTransaction, blobs: Mapping[str, bytes | None]) -> None:
    """Store or, with None, delete named byte strings."""
    for name, data in blobs.items():
        key = check_name(name)
        if data is None:
            txn.delete(Table.BLOBS, key)
        elif len(data) > MAX_BLOB:
            raise RequestError(f"blob {name!r} takes {len(data):,} bytes; the limit is {MAX_BLOB:,}")
        else:
            txn.put(Table.BLOBS, key, data)


def read_blob(txn: ReadTransaction, name: str) -> bytes:
    """A copy of a named byte string; raises KeyError."""
    payload = txn.get(Table.BLOBS, check_name(name))
    if payload is None:
        raise KeyError(name)
    return bytes(payload)


def blob_sizes(txn: ReadTransaction) -> dict[str, int]:
    """Name → size of every blob."""
    return {key.decode(): len(value) - OVERHEAD for key, value in txn.scan(Table.BLOBS)}


def put_settings(txn: WriteTransaction, settings: Mapping[str, Any]) -> None:
    """Store or, with None, delete settings."""
    for name, value in settings.items():
        key = check_name(name)
        if value is None:
            txn.delete(Table.SETTINGS, key)
            continue
        try:
            txn.put(Table.SETTINGS, key, msgspec.msgpack.encode(value))
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(f"setting {name!r} is not JSON-like: {error}") from error


def read_settings(txn: ReadTransaction) -> dict[str, Any]:
    """All settings."""
    names = [key for key, _ in txn.scan(Table.SETTINGS)]
    return {
        name.decode(): decoded(object, txn.get(Table.SETTINGS, name) or b"", "a setting") for name in names
    }


def truncate_log(txn: WriteTransaction, before: int) -> int:
    """Forget log entries below `before` but never the newest; returns how many."""
    counters = read_counters(txn)
    kept = min(before, counters.last_seq)
    gone = range(counters.low_water + 1, kept)
    for seq in gone:
        txn.delete(Table.LOG, pack_id(seq))
    if gone:
        counters.low_water = kept - 1
        write_counters(txn, counters)
    return len(gone)
