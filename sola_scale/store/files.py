"""The folder of a store: where its file lies, how it is made, opened and exchanged for another."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from sola_scale.errors import (
    StoreExistsError,
    StoreNotFoundError,
    StoreReadOnlyError,
)
from sola_scale.store.bookkeeping import FORMAT_VERSION, write_manifest
from sola_scale.store.environment import Environment, file_key, translated
from sola_scale.store.header import check_file
from sola_scale.store.locks import folder_lock
from sola_scale.store.records import StoreManifest

FILE_NAME = "edits.lmdb"
NEW_NAME = "edits.new"
JOURNAL_NAME = "exchange.journal"


def create_file(folder: Path, manifest: StoreManifest, *, map_size: int, at: int) -> None:
    """Make the folder and a fresh file in it, whole or not at all.

    Raises:
        StoreExistsError: The folder holds a store.
        StoreReadOnlyError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreReadOnlyError(f"{folder} cannot be made: {error}") from error
    with folder_lock(folder, exclusive=True):
        if (folder / FILE_NAME).exists():
            raise StoreExistsError(f"{folder} holds a store already")
        stamped = msgspec.structs.replace(manifest, format_version=FORMAT_VERSION, created_at=at)
        build_file(folder / NEW_NAME, lambda fresh: _stamp(fresh, stamped), map_size=map_size)
        (folder / NEW_NAME).rename(folder / FILE_NAME)
        sync_folder(folder)


def _stamp(environment: Environment, manifest: StoreManifest) -> None:
    with environment.write() as txn:
        write_manifest(txn, manifest)


def build_file(path: Path, fill: Callable[[Environment], None], *, map_size: int) -> None:
    """Fill a new LMDB file at `path` through `fill`, and leave it closed, synced and without its lock file."""
    remove(path)
    remove(lock_path(path))
    try:
        environment = Environment(path, map_size=map_size, writable=True, create=True)
        try:
            fill(environment)
        finally:
            environment.release()
    except BaseException:
        remove(path)
        raise
    finally:
        remove(lock_path(path))


def open_file(folder: Path, *, map_size: int) -> Environment:
    """The environment of the folder's file, after checks that need no trust in it.

    Raises:
        StoreNotFoundError: There is none.
        CorruptRecordError: It is truncated or no LMDB file at all.
    """
    check_exists(folder)
    path = folder / FILE_NAME
    while True:
        with folder_lock(folder, exclusive=False):
            if not _half_exchanged(folder):
                check_file(path)
                environment = Environment.acquire(path, map_size=map_size)
                break
        with folder_lock(folder, exclusive=True):
            finish_exchange(folder)
    environment.clear_stale_readers()
    return environment


def _half_exchanged(folder: Path) -> bool:
    """Whether an exchange was cut off; in a folder that cannot be written, where no lock file is used, never mind."""
    return (folder / JOURNAL_NAME).exists() and os.access(folder, os.W_OK)


def exchange_file(folder: Path) -> None:
    """Put the new file in the place of the old one, surviving a kill between any two steps.

    LMDB's lock file belongs to one data file. Were the old one left beside the new data, a reader of the old
    data would hand its transaction numbers to the new. A journal therefore names the new file, and whoever opens
    the folder next finishes what it finds begun.
    """
    with folder_lock(folder, exclusive=True), translated(folder):
        new = folder / NEW_NAME
        write_whole(folder / JOURNAL_NAME, str(file_key(new)[2]).encode())
        new.rename(folder / FILE_NAME)
        finish_exchange(folder)


def finish_exchange(folder: Path) -> None:
    """Bring a begun exchange to its end, or undo it where the file was not yet renamed."""
    journal = folder / JOURNAL_NAME
    if not journal.exists():
        return
    if journal.read_bytes() == str(file_key(folder / FILE_NAME)[2]).encode():
        sync_folder(folder)
        remove(lock_path(folder / FILE_NAME))
    else:
        remove(folder / NEW_NAME)
    remove(journal)
    sync_folder(folder)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all, durably."""
    scratch = path.with_suffix(".tmp")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock_path(path: Path) -> Path:
    """LMDB's lock file of a data file."""
    return path.with_name(path.name + "-lock")


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    path.unlink(missing_ok=True)


def check_exists(folder: Path) -> None:
    """Raise StoreNotFoundError where there is no store."""
    if not (folder / FILE_NAME).is_file():
        raise StoreNotFoundError(f"there is no store at {folder}: {FILE_NAME} is missing")


def disk_bytes(folder: Path) -> int:
    """Bytes of the store's file, free pages included; it has no holes."""
    return (folder / FILE_NAME).stat().st_size
