"""sola revoke, sola restore, sola purge: take edits back, bring them back, erase them. None needs the model."""

from typing import TYPE_CHECKING, Annotated

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_store
from sola_scale.cli.output import emit, say

if TYPE_CHECKING:
    from sola_scale.store import LmdbStore


def revoke(
    store: options.StorePath,
    ids: options.EditIds = None,
    *,
    tag: options.Tags = None,
    source: options.Source = None,
    json: options.Json = False,
) -> None:
    """Take edits back: by id, or all of a tag or source. Durable when done, and `sola restore` undoes it.

    The model answers as if the edit had never been, bit for bit; an edit that the revoked one had superseded comes
    back.
    """
    with open_store(store, read_only=False) as opened:
        named = _named(opened, ids, tag, source)
        _report("revoked", list(opened.revoke(named).edit_ids), named, json=json)


def restore(
    store: options.StorePath,
    ids: options.EditIds = None,
    *,
    tag: options.Tags = None,
    source: options.Source = None,
    json: options.Json = False,
) -> None:
    """Bring revoked edits back, exactly as they were: by id, or all of a tag or source."""
    with open_store(store, read_only=False) as opened:
        named = _named(opened, ids, tag, source)
        _report("restored", list(opened.restore(named).edit_ids), named, json=json)


def purge(
    store: options.StorePath,
    ids: options.EditIds = None,
    *,
    tag: options.Tags = None,
    source: options.Source = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> None:
    """Erase edits for good: text, weights and keys. `sola compact` then takes the bytes off the disk."""
    with open_store(store, read_only=False) as opened:
        named = _named(opened, ids, tag, source)
        if not yes:
            typer.confirm(f"Erase {_edits(len(named))} for good?", abort=True, err=True)
        _report("purged", list(opened.purge(named).edit_ids), named, json=json)
    if not json:
        say("[dim]to take the bytes off the disk: sola compact STORE[/]")


def _named(
    store: "LmdbStore", ids: list[int] | None, tags: list[str] | None, source: str | None
) -> list[int]:
    """The edits meant: those named, or those that the filters find."""
    if bool(ids) == bool(tags or source):
        raise typer.BadParameter("name edits either by id or by --tag and --source")
    if ids:
        return ids
    from sola_scale.store import EditFilter, EditStatus

    kept = tuple(status for status in EditStatus if status is not EditStatus.PURGED)
    return [one.id for one in store.records(EditFilter(tags=tuple(tags or ()), source=source, status=kept))]


def _report(verb: str, changed: list[int], named: list[int], *, json: bool) -> None:
    unchanged = [edit_id for edit_id in dict.fromkeys(named) if edit_id not in set(changed)]
    if json:
        emit({verb: changed, "unchanged": unchanged})
        return
    say(f"{verb} {_edits(len(changed))}" + (f"; {_edits(len(unchanged))} already so" if unchanged else ""))


def _edits(count: int) -> str:
    return "1 edit" if count == 1 else f"{count:,} edits"
