"""Durable files: written whole or not at all, and never believed without their SHA-256."""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sola_index.errors import SnapshotError

PIECE = 1 << 24
"""Bytes hashed and written at a time."""

LARGEST_MANIFEST = 1 << 20


class FileSeal(NamedTuple):
    """What a file must be to be believed: its size, and the SHA-256 of each piece."""

    name: str
    size: int
    pieces: tuple[str, ...]


def write_sealed(folder: Path, name: str, parts: Iterable[npt.NDArray[Any]]) -> FileSeal:
    """Write arrays one after the other to a new file, flush it to disk and seal it."""
    digests: list[str] = []
    size = 0
    with (folder / name).open("xb") as file:
        for part in parts:
            flat = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            file.write(flat.data)
            size += flat.nbytes
        file.flush()
        os.fsync(file.fileno())
    if size:
        written = np.memmap(folder / name, np.uint8, "r")
        digests = [_digest(written[start : start + PIECE]) for start in range(0, size, PIECE)]
    return FileSeal(name, size, tuple(digests))


def open_sealed(folder: Path, seal: FileSeal) -> npt.NDArray[np.uint8]:
    """Map a file after checking every byte of it, on two threads.

    Raises:
        SnapshotError: missing, of another size, or changed since it was sealed.
    """
    path = folder / Path(seal.name).name
    try:
        size = path.stat().st_size
        data = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error}") from error
    if size != seal.size or len(seal.pieces) != -(-size // PIECE):
        raise SnapshotError(f"{path} has {size} bytes instead of {seal.size}")
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(_digest, (data[start : start + PIECE] for start in range(0, size, PIECE)))
        if tuple(found) != seal.pieces:
            raise SnapshotError(f"{path} does not have the SHA-256 it was written with")
    return data


def write_manifest(folder: Path, name: str, payload: dict[str, Any]) -> None:
    """Put a sealed manifest in place at once: temporary file, fsync, rename, fsync of the folder."""
    body = json.dumps(payload, sort_keys=True)
    text = json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "body": body})
    temporary = folder / f"{name}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / name)
    sync_folder(folder)


def read_manifest(folder: Path, name: str) -> dict[str, Any]:
    """Read a sealed manifest.

    Raises:
        SnapshotError: missing, oversized, not JSON, or changed since it was sealed.
    """
    path = folder / name
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise SnapshotError(f"{path} is too large to be a manifest")
        outer = json.loads(path.read_text(encoding="utf-8"))
        body = outer["body"]
        if hashlib.sha256(body.encode()).hexdigest() != outer["sha256"]:
            raise SnapshotError(f"{path} does not have the SHA-256 it was written with")
        payload = json.loads(body)
    except FileNotFoundError as error:
        raise SnapshotError(f"there is no snapshot at {folder}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"{path} is damaged: {error!r}") from error
    if not isinstance(payload, dict):
        raise SnapshotError(f"{path} is damaged: not an object")
    return payload


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(piece: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(piece.data).hexdigest()
