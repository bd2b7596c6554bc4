"""Copies of a whole store, value by value: the backup, and the compaction that leaves nothing erased behind.

LMDB's own compacting copy takes pages as they are, with old bytes in the gaps between live values. Reading the
values and writing them in key order leaves those behind, fills every page, and can be compared with the source.
"""

from pathlib import Path

from xxhash import xxh3_128

from sola_scale.errors import CorruptRecordError, StoreExistsError, StoreReadOnlyError
from sola_scale.store.environment import Environment
from sola_scale.store.files import FILE_NAME, NEW_NAME, build_file, sync_folder
from sola_scale.store.tables import Table
from sola_scale.store.transaction import ReadTransaction

_COMMIT_BYTES = 64 << 20


def backup_file(source: Environment, folder: Path, *, map_size: int) -> None:
    """Write a consistent copy into a new folder while others go on.

    Raises:
        StoreExistsError: The folder holds a store.
        StoreReadOnlyError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreReadOnlyError(f"{folder} cannot be made: {error}") from error
    if (folder / FILE_NAME).exists():
        raise StoreExistsError(f"{folder} holds a store already")
    copy_file(source, folder / NEW_NAME, map_size=map_size)
    (folder / NEW_NAME).rename(folder / FILE_NAME)
    sync_folder(folder)


def copy_file(source: Environment, path: Path, *, map_size: int) -> None:
    """Copy one state of a store into a new file and read it back; raises CorruptRecordError if they differ."""

    def fill(target: Environment) -> None:
        with source.read() as state:
            written = _copy_tables(state, target)
        with target.read() as copied:
            if _fingerprint(copied) != written:
                raise CorruptRecordError(f"{path} does not read back as it was written: is the disk failing?")

    build_file(path, fill, map_size=map_size)


def _copy_tables(source: ReadTransaction, target: Environment) -> bytes:
    digest = xxh3_128()
    for table in Table:
        start: bytes | None = b""
        while start is not None:
            start = _copy_some(source, target, table, start, digest)
    return digest.digest()


def _copy_some(
    source: ReadTransaction, target: Environment, table: Table, start: bytes, digest: xxh3_128
) -> bytes | None:
    """Copy values from `start` on, one transaction full; returns where the next one starts."""
    room = _COMMIT_BYTES
    with target.write() as txn:
        for key, value in source.scan(table, start):
            if room < 0:
                return key
            txn.append_raw(table, key, value)
            _feed(digest, key, value)
            room -= len(value)
    return None


def _fingerprint(txn: ReadTransaction) -> bytes:
    digest = xxh3_128()
    for table in Table:
        for key, value in txn.scan(table):
            _feed(digest, key, value)
    return digest.digest()


def _feed(digest: xxh3_128, key: bytes, value: bytes | memoryview) -> None:
    digest.update(key)
    digest.update(value)
