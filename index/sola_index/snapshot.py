"""Snapshots: a folder of sealed files named by one manifest, replaced by rename, never overwritten."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sola_index import checks
from sola_index.contract import Ids, Metric
from sola_index.errors import KeyIndexError, SnapshotError
from sola_index.files import FileSeal, open_sealed, read_manifest, sync_folder, write_manifest, write_sealed
from sola_index.table import KeyTable

FORMAT = "sola-index"
VERSION = 1
MANIFEST = "manifest.json"


class Header(NamedTuple):
    """What a manifest says beside its files."""

    dim: int
    metric: Metric
    last_id: int | None
    lsn: int
    rows: int
    generation: int


def write(folder: Path, header: Header, table: KeyTable, rows: int, body: np.ndarray | None) -> None:
    """Write ``rows`` rows of a table and the compressed body; an earlier snapshot stands until this one is whole.

    Args:
        folder: where; made if missing.
        header: what to write into the manifest; its generation must be new.
        table: the keys, held still by the caller for as long as liveness matters.
        rows: how many rows to write.
        body: the serialized compressed tier, uint8, or None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"g{header.generation:08d}"
    _discard(folder, stem)
    keys = [block.keys_ND for block in table.blocks(0, rows, 1 << 16)]
    parts = {
        "keys": keys,
        "ids": [table.ids_N[:rows]],
        "live": [np.packbits(table.live_N[:rows])],
        "norms": [table.squared_norms_N[:rows]],
        "body": [] if body is None else [body],
    }
    seals = {part: write_sealed(folder, f"{stem}.{part}", arrays) for part, arrays in parts.items()}
    sync_folder(folder)
    write_manifest(
        folder, MANIFEST, {"format": FORMAT, "version": VERSION, **header._asdict(), "files": seals}
    )
    _keep_only(folder, stem)


def read(folder: Path) -> tuple[Header, KeyTable, np.ndarray | None]:
    """Read a snapshot after checking all of it; the keys stay in the file, mapped.

    Raises:
        SnapshotError: missing, damaged, incomplete or of another version.
    """
    header, seals = _read_header(folder)
    data = {part: open_sealed(folder, seal) for part, seal in seals.items()}
    rows = header.rows
    try:
        keys_ND = data["keys"].view(np.float32).reshape(rows, header.dim)
        ids_N = data["ids"].view(np.uint64).reshape(rows)
        norms_N = data["norms"].view(np.float32).reshape(rows)
        live_N = np.unpackbits(data["live"], count=rows).view(np.bool_)
    except (KeyError, ValueError) as error:
        raise SnapshotError(f"{folder}: the files do not fit the manifest: {error}") from error
    _check_ids(folder, ids_N, header.last_id)
    body = data["body"] if len(data.get("body", b"")) else None
    return header, KeyTable.over_base(keys_ND, ids_N, live_N, norms_N), body


def next_generation(folder: Path) -> int:
    """A generation number that no earlier snapshot of this folder used."""
    used = [0]
    for path in folder.glob("g????????.*"):
        with contextlib.suppress(ValueError):
            used.append(int(path.name[1:9]))
    return max(used) + 1


def _read_header(folder: Path) -> tuple[Header, dict[str, FileSeal]]:
    payload = read_manifest(folder, MANIFEST)
    if payload.get("format") != FORMAT or payload.get("version") != VERSION:
        found = f"{payload.get('format')!r} version {payload.get('version')!r}"
        raise SnapshotError(f"{folder} holds {found}; this library reads {FORMAT!r} version {VERSION}")
    try:
        header = Header(**{name: payload[name] for name in Header._fields})
        seals = {
            str(part): FileSeal(name, size, tuple(pieces)) for part, (name, size, pieces) in _items(payload)
        }
        checks.check_dim(header.dim)
        checks.check_metric(header.metric)
    except (KeyError, TypeError, ValueError, KeyIndexError) as error:
        raise SnapshotError(f"{folder}: the manifest is incomplete: {error!r}") from error
    return header, seals


def _items(payload: dict[str, Any]) -> Any:
    return payload["files"].items()


def _check_ids(folder: Path, ids_N: Ids, last_id: int | None) -> None:
    last = int(ids_N[-1]) if len(ids_N) else 0
    if (ids_N[1:] <= ids_N[:-1]).any() or last > (last_id or 0):
        raise SnapshotError(f"{folder}: ids are out of order")


def _discard(folder: Path, stem: str) -> None:
    for path in folder.glob(f"{stem}.*"):
        path.unlink()


def _keep_only(folder: Path, stem: str) -> None:
    """Remove the files of other generations; mapped ones stay readable until they are let go."""
    for path in folder.glob("g????????.*"):
        if not path.name.startswith(stem):
            path.unlink(missing_ok=True)
