"""Snapshots: a folder of sealed files named by one manifest, replaced by rename, never overwritten."""

import contextlib
import threading
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from sola_index import checks
from sola_index.compressed import CompressedTier
from sola_index.config import IndexConfig
from sola_index.contract import Floats, Ids, Metric
from sola_index.errors import KeyIndexError, SnapshotError
from sola_index.files import FileSeal, open_sealed, read_manifest, sync_folder, write_manifest, write_sealed
from sola_index.lists import ListsTier
from sola_index.maintenance import State
from sola_index.scan import ScanTier
from sola_index.table import KeyTable

# Shapes: N rows, D dimensions.
FORMAT = "sola-index"
VERSION = 3
MANIFEST = "manifest.json"
TIERS: dict[str, type[ScanTier | ListsTier]] = {ScanTier.name: ScanTier, ListsTier.name: ListsTier}
DTYPES = {
    "codes": np.uint8,
    "hashes": np.uint64,
    "hashed_rows": np.uint32,
    "measures": np.float64,
    "sources": np.int64,
}
"""Types of a tier's arrays; those not named are float32."""

_one_at_a_time = threading.Lock()


class Header(NamedTuple):
    """What a manifest says beside its files."""

    dim: int
    metric: Metric
    last_id: int | None
    lsn: int
    rows: int
    tier: str | None


class KeyFile(NamedTuple):
    """The file that the base of a table is mapped from."""

    folder: Path
    seal: FileSeal


class Capture(NamedTuple):
    """A moment of an index: its rows do not change any more, its liveness and codes are copies."""

    header: Header
    keys: list[Floats]
    ids_N: Ids
    live_N: npt.NDArray[np.uint8]
    norms_N: Floats
    tier: dict[str, npt.NDArray[Any]]
    base: KeyFile | None
    base_ND: Floats

    @classmethod
    def of(cls, state: State, metric: Metric, last_id: int | None, lsn: int) -> Self:
        """Capture a state while the caller holds off writes."""
        table, tier = state
        rows = table.count
        header = Header(table.dim, metric, last_id, lsn, rows, tier.name if tier else None)
        # A tail that is small beside the base goes into a file of its own, so that the base is not written again.
        base = table.base_file if 2 * len(table.base_ND) > rows else None
        start = len(table.base_ND) if base else 0
        return cls(
            header,
            [block.keys_ND for block in table.blocks(start, rows, 1 << 16)],
            table.ids_N[:rows],
            np.packbits(table.live_N[:rows]),
            table.squared_norms_N[:rows],
            tier.dump() if tier else {},
            base,
            table.base_ND,
        )


class Found(NamedTuple):
    """A snapshot that was read."""

    header: Header
    state: State


def write(folder: Path, capture: Capture) -> None:
    """Write a capture; an earlier snapshot stands until this one is whole."""
    with _one_at_a_time:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"g{_next_generation(folder):08d}"
        seals: dict[str, FileSeal] = {}
        base = capture.base
        if base is not None and base.folder == folder.resolve() and (folder / base.seal.name).exists():
            seals["base"] = base.seal
        elif base is not None:
            capture = capture._replace(keys=[capture.base_ND, *capture.keys])
        arrays: dict[str, list[npt.NDArray[Any]]] = {
            "keys": capture.keys,
            "ids": [capture.ids_N],
            "live": [capture.live_N],
            "norms": [capture.norms_N],
        }
        arrays |= {f"tier-{name}": [array] for name, array in capture.tier.items()}
        seals |= {name: write_sealed(folder, f"{stem}.{name}", parts) for name, parts in arrays.items()}
        sync_folder(folder)
        payload = {"format": FORMAT, "version": VERSION, **capture.header._asdict(), "files": seals}
        write_manifest(folder, MANIFEST, payload)
        _keep_only(folder, {seal.name for seal in seals.values()})


def read(folder: Path, config: IndexConfig) -> Found:
    """Read a snapshot after checking all of it; the keys stay in their file, mapped.

    Raises:
        SnapshotError: missing, damaged, incomplete or of another version.
    """
    header, seals = _read_manifest(folder)
    data = {name: open_sealed(folder, seal) for name, seal in seals.items()}
    try:
        table = _table(folder, header, seals, data)
        return Found(header, State(table, _tier(config, header, data)))
    except SnapshotError:
        raise
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise SnapshotError(f"{folder}: the files do not fit the manifest: {error!r}") from error


def _read_manifest(folder: Path) -> tuple[Header, dict[str, FileSeal]]:
    payload = read_manifest(folder, MANIFEST)
    if payload.get("format") != FORMAT or payload.get("version") != VERSION:
        found = f"{payload.get('format')!r} version {payload.get('version')!r}"
        raise SnapshotError(f"{folder} holds {found}; this library reads {FORMAT!r} version {VERSION}")
    try:
        header = Header(**{name: payload[name] for name in Header._fields})
        files: dict[str, Any] = payload["files"]
        seals = {
            name: FileSeal(str(file), int(size), tuple(pieces))
            for name, (file, size, pieces) in files.items()
        }
        checks.check_dim(header.dim)
        checks.check_metric(header.metric)
    except (KeyError, TypeError, ValueError, AttributeError, KeyIndexError) as error:
        raise SnapshotError(f"{folder}: the manifest is incomplete: {error!r}") from error
    return header, seals


def _table(
    folder: Path, header: Header, seals: dict[str, FileSeal], data: dict[str, npt.NDArray[np.uint8]]
) -> KeyTable:
    base = "base" if "base" in data else "keys"
    base_ND = data[base].view(np.float32).reshape(-1, header.dim)
    ids_N = data["ids"].view(np.uint64).reshape(header.rows)
    norms_N = data["norms"].view(np.float32).reshape(header.rows)
    live_N = np.unpackbits(data["live"], count=header.rows).view(np.bool_)
    if (ids_N[1:] <= ids_N[:-1]).any() or (len(ids_N) and int(ids_N[-1]) > (header.last_id or 0)):
        raise SnapshotError(f"{folder}: ids are out of order")
    rows = len(base_ND)
    table = KeyTable.over_base(base_ND, ids_N[:rows], live_N[:rows], norms_N[:rows])
    table.base_file = KeyFile(folder.resolve(), seals[base])
    if base == "base":
        table.append(ids_N[rows:], data["keys"].view(np.float32).reshape(-1, header.dim))
        table.kill(rows + np.flatnonzero(~live_N[rows:]))
    if table.count != header.rows:
        raise SnapshotError(f"{folder}: {table.count} keys instead of {header.rows}")
    return table


def _tier(
    config: IndexConfig, header: Header, data: dict[str, npt.NDArray[np.uint8]]
) -> CompressedTier | None:
    if header.tier is None:
        return None
    parts = {name.removeprefix("tier-"): array for name, array in data.items() if name.startswith("tier-")}
    arrays = {name: array.view(DTYPES.get(name, np.float32)) for name, array in parts.items()}
    return TIERS[header.tier].restore(config, header.dim, arrays)


def _next_generation(folder: Path) -> int:
    used = [0]
    for path in folder.glob("g????????.*"):
        with contextlib.suppress(ValueError):
            used.append(int(path.name[1:9]))
    return max(used) + 1


def _keep_only(folder: Path, names: set[str]) -> None:
    """Remove the files of earlier snapshots; mapped ones stay readable until they are let go."""
    for path in folder.glob("g????????.*"):
        if path.name not in names:
            path.unlink(missing_ok=True)
