"""sola init, verify, compact, backup: making a store and looking after it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_editor, open_store
from sola_scale.cli.output import emit, facts, say, size, table
from sola_scale.errors import StoreExistsError

if TYPE_CHECKING:
    from sola_scale.store import LmdbStore


def init(
    store: options.StorePath,
    model: options.Model = "smollm2",
    device: options.Device = None,
    recipe: Annotated[
        str, typer.Option(help="How edits are made and routed: 'default' or 'sola-paper'.")
    ] = "default",
    json: options.Json = False,
) -> None:
    """Make an empty store for a model. It will open with that model only."""
    if (store / "edits.lmdb").exists():
        raise StoreExistsError(f"there is a store at {store} already; every other command opens it")
    from sola_scale import recipes

    with open_editor(store, model, device, recipe=recipes.by_name(recipe)):
        pass
    with open_store(store) as opened:
        manifest = opened.manifest
    if json:
        emit({"store": store, "manifest": manifest})
        return
    facts(f"[bold]{store}[/]", [("model", manifest.model_name), *manifest.fingerprint.items()])
    say(f"[dim]next: sola ingest {store} FILE[/]")


def verify(
    store: options.StorePath,
    repair: Annotated[bool, typer.Option("--repair", help="Stop damaged edits and mend the index.")] = False,
    json: options.Json = False,
) -> None:
    """Check every checksum and cross-reference of a store, and its index against it. Exit code 1 if any is wrong."""
    with open_store(store, read_only=not repair) as opened:
        report = opened.verify(repair=repair)
        faults = _index_faults(opened, store, repair=repair)
    if json:
        emit({"ok": report.ok and not faults, "store": report, "index_faults": faults})
    else:
        say(f"{report.edits:,} edits, {report.values:,} checksums")
        if report.damages:
            table(
                "damaged",
                ("table", "edit", "what"),
                ((d.table, d.edit_id or "", d.what) for d in report.damages),
            )
        for line in (*faults, *report.repaired):
            say(line)
        if report.quarantined:
            say(f"stopped: edits {', '.join(map(str, report.quarantined))}")
        say("[green]all is well[/]" if report.ok and not faults else "[red]not all is well[/]")
    if not report.ok or faults:
        raise typer.Exit(1)


def compact(store: options.StorePath, json: options.Json = False) -> None:
    """Rewrite the store without its free space, and without what was purged."""
    with open_store(store, read_only=False) as opened:
        saved = opened.compact()
    emit({"saved_bytes": saved}) if json else say(f"gave {size(saved)} back")


def backup(
    store: options.StorePath,
    to: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A new folder for the copy.", show_default=False)
    ],
    json: options.Json = False,
) -> None:
    """Write a consistent copy of a store, even while another process writes to it."""
    with open_store(store) as opened:
        opened.backup(to)
    emit({"backup": to}) if json else say(f"copied to {to}")


def _index_faults(opened: "LmdbStore", folder: Path, *, repair: bool) -> tuple[str, ...]:
    """Hold the snapshot of the index against the store; with ``repair``, write a right one."""
    from sola_scale.live import LiveIndex
    from sola_scale.opening import current_calibration

    _, calibration = current_calibration(opened)
    live = LiveIndex(opened, dim=calibration.retrieval_dim, folder=folder / "index")
    try:
        faults = live.compare()
        if repair:
            live.rebuild()
            live.snapshot()
        return faults
    finally:
        live.close()
