"""Transactions over the tables of one file; every value is sealed on the way in and checked on the way out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sola_scale.errors import CorruptRecordError
from sola_scale.store import segments
from sola_scale.store.tables import Table
from sola_scale.store.values import Buffer, pack_id, seal, seal_all, unpack_id, unseal


class ReadTransaction:
    """One unchanging state of the store; its views die with it."""

    def __init__(self, txn: Any, tables: Mapping[Table, Any]) -> None:
        self._txn = txn
        self._tables = tables

    def get(self, table: Table, key: bytes, edit_id: int | None = None) -> Buffer | None:
        """The checked payload under a key, or None."""
        value = self._txn.get(key, db=self._tables[table])
        return None if value is None else unseal(table, key, value, edit_id)

    def getter(self, table: Table) -> Callable[[bytes], Buffer | None]:
        """The same for many keys of one table."""
        get, database, name = self._txn.get, self._tables[table], table.value

        def read(key: bytes) -> Buffer | None:
            value = get(key, db=database)
            return None if value is None else unseal(name, key, value)

        return read

    def raw(self, table: Table, key: bytes) -> Buffer | None:
        """The value under a key as it lies there."""
        value: Buffer | None = self._txn.get(key, db=self._tables[table])
        return value

    def segment_reader(self, table: Table) -> Callable[[int], memoryview]:
        """A function from edit id to checked payload; remembers the last segment, as neighbours share it."""
        last, segment = -1, None
        get, database, name = self._txn.get, self._tables[table], table.value

        def read(edit_id: int) -> memoryview:
            nonlocal last, segment
            number = edit_id // segments.SPAN
            if number != last:
                segment, last = get(pack_id(number), db=database), number
            return segments.find(name, segment, edit_id)

        return read

    def scan(self, table: Table, start: bytes = b"") -> Iterator[tuple[bytes, Buffer]]:
        """Key and unchecked value in ascending order, from the first key not below `start`."""
        with self._txn.cursor(db=self._tables[table]) as cursor:
            if cursor.set_range(start) if start else cursor.first():
                for key, value in cursor.iternext():
                    yield bytes(key), value

    def stat(self, table: Table) -> dict[str, int]:
        """LMDB's page counts of a table."""
        stat: dict[str, int] = self._txn.stat(self._tables[table])
        return stat


class WriteTransaction(ReadTransaction):
    """The one writing transaction; views die at its next write, so what is read is copied first."""

    def put(self, table: Table, key: bytes, payload: Buffer) -> None:
        """Seal and store a value."""
        self._txn.put(key, seal(key, payload), db=self._tables[table])

    def append_all(self, table: Table, keys: Sequence[bytes], payloads: Iterable[Buffer]) -> None:
        """Seal and store values beyond the greatest key, in ascending order, in one call to LMDB."""
        if not keys:
            return
        with self._txn.cursor(db=self._tables[table]) as cursor:
            _, added = cursor.putmulti(seal_all(keys, payloads), append=True)
        if added != len(keys):
            raise CorruptRecordError(f"key {keys[added].hex()} of table '{table}' is out of order")

    def append_raw(self, table: Table, key: bytes, value: Buffer) -> None:
        """Store a value as it is beyond the greatest key, which leaves the pages full."""
        if not self._txn.put(key, value, db=self._tables[table], append=True):
            raise CorruptRecordError(f"key {bytes(key).hex()} of table '{table}' is out of order")

    def append(self, table: Table, key: bytes, payload: Buffer) -> None:
        """Seal and store a value beyond the greatest key."""
        self.append_raw(table, key, seal(key, payload))

    def delete(self, table: Table, key: bytes) -> bool:
        """Take a key out; whether it was there."""
        return bool(self._txn.delete(key, db=self._tables[table]))

    def clear(self, table: Table) -> None:
        """Take everything out of a table."""
        self._txn.drop(self._tables[table], delete=False)

    def put_segments(self, table: Table, changes: Mapping[int, Buffer | None]) -> None:
        """Store (or with None take out) the payloads of edits in a table of segments.

        Once a table and transaction: LMDB shortens a value of the same transaction in place without correcting
        its page count, which is harmless but which its auditor reports.
        """
        groups: dict[int, dict[int, Buffer | None]] = {}
        for edit_id, payload in changes.items():
            groups.setdefault(edit_id // segments.SPAN, {})[edit_id] = payload
        for number, group in groups.items():
            key = pack_id(number)
            value = segments.rebuilt(number, self.raw(table, key), group)
            if value is None:
                self.delete(table, key)
            else:
                self._txn.put(key, value, db=self._tables[table])


def ids_below(txn: ReadTransaction, table: Table, prefix: bytes) -> list[int]:
    """The second ids of all (prefix, id) keys of a table."""
    found = []
    for key, _ in txn.scan(table, prefix):
        if not key.startswith(prefix):
            break
        found.append(unpack_id(key, len(prefix)))
    return found
