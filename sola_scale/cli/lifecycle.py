"""sola revoke, sola restore, sola purge: take edits back, bring them back, erase them. None needs the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_store
from sola_scale.cli.output import emit, one_line, say, table
from sola_scale.cli.selection import Selection

if TYPE_CHECKING:
    from sola_scale.store import LmdbStore, Transition

_SHOWN = 50


def revoke(
    store: options.StorePath,
    ids: options.EditIds = None,
    *,
    ids_from: options.IdsFrom = None,
    tag: options.Tags = None,
    source: options.Source = None,
    since: options.Since = None,
    until: options.Until = None,
    contains: options.Contains = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Take edits back: by id, or all that the filters find. Durable when done, and `sola restore` undoes it.

    The model answers as if the edit had never been, bit for bit; an edit that the revoked one had superseded comes
    back. With --dry-run nothing is changed, and what would be is shown.
    """
    asked = Selection(
        ids=ids, ids_from=ids_from, tags=tag, source=source, since=since, until=until, contains=contains
    )
    _change(store, "revoke", asked, dry_run=dry_run, json=json)


def restore(
    store: options.StorePath,
    ids: options.EditIds = None,
    *,
    ids_from: options.IdsFrom = None,
    tag: options.Tags = None,
    source: options.Source = None,
    since: options.Since = None,
    until: options.Until = None,
    contains: options.Contains = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Bring revoked edits back, exactly as they were: by id, or all that the filters find."""
    asked = Selection(
        ids=ids, ids_from=ids_from, tags=tag, source=source, since=since, until=until, contains=contains
    )
    _change(store, "restore", asked, dry_run=dry_run, json=json)


def purge(
    store: options.StorePath,
    ids: options.EditIds = None,
    *,
    ids_from: options.IdsFrom = None,
    tag: options.Tags = None,
    source: options.Source = None,
    since: options.Since = None,
    until: options.Until = None,
    contains: options.Contains = None,
    dry_run: options.DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> None:
    """Erase edits for good: text, weights and keys. `sola compact` then takes the bytes off the disk."""
    asked = Selection(
        ids=ids, ids_from=ids_from, tags=tag, source=source, since=since, until=until, contains=contains
    )

    def confirm(count: int) -> None:
        if not yes:
            typer.confirm(f"Erase {_edits(count)} for good?", abort=True, err=True)

    _change(store, "purge", asked, dry_run=dry_run, json=json, confirm=confirm)
    if not json and not dry_run:
        say("[dim]to take the bytes off the disk: sola compact STORE[/]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became, or would become, of the edits that were named."""

    verb: str
    """Revoke, restore or purge."""
    changed: list[int]
    """Edits that were not so already."""
    resumed: list[int]
    """Edits that were superseded and serve again."""
    unchanged: list[int]
    """Edits that were so already."""

    @classmethod
    def of(cls, verb: str, named: list[int], transition: "Transition") -> "_Outcome":
        changed = set(transition.edit_ids)
        return cls(
            verb=verb,
            changed=list(transition.edit_ids),
            resumed=[one.edit_id for one in transition.activated if one.edit_id not in changed],
            unchanged=[edit_id for edit_id in named if edit_id not in changed],
        )


def _change(
    path: options.StorePath,
    verb: str,
    asked: Selection,
    *,
    dry_run: bool,
    json: bool,
    confirm: Callable[[int], None] = lambda _count: None,
) -> None:
    from sola_scale.store import Operation

    with open_store(path, read_only=False) as opened:
        named = asked.edits(opened)
        if dry_run:
            outcome = _Outcome.of(verb, named, opened.rehearse(Operation(verb), named))
            _foretell(opened, outcome, json=json)
            return
        confirm(len(named))
        _report(_Outcome.of(verb, named, getattr(opened, verb)(named)), json=json)


_PAST = {"revoke": "revoked", "restore": "restored", "purge": "purged"}


def _report(outcome: _Outcome, *, json: bool) -> None:
    done = _PAST[outcome.verb]
    if json:
        emit({done: outcome.changed, "resumed": outcome.resumed, "unchanged": outcome.unchanged})
        return
    say(f"{done} {_edits(len(outcome.changed))}{_besides(outcome, 'serve again')}")


def _foretell(store: "LmdbStore", outcome: _Outcome, *, json: bool) -> None:
    if json:
        found = {"resumed": outcome.resumed, "unchanged": outcome.unchanged}
        emit({f"would_{outcome.verb}": outcome.changed, **found})
        return
    shown = [store.record(edit_id) for edit_id in outcome.changed[:_SHOWN]]
    rows = ((one.id, one.status, one_line(one.prompt, 60), one_line(one.target, 30)) for one in shown)
    table(None, ("id", "status", "prompt", "target"), rows)
    more = f", of which {len(shown)} are shown" if len(shown) < len(outcome.changed) else ""
    say(f"would {outcome.verb} {_edits(len(outcome.changed))}{more}{_besides(outcome, 'would serve again')}")
    say("[dim]nothing was changed[/]")


def _besides(outcome: _Outcome, serve: str) -> str:
    resumed = f"; {_edits(len(outcome.resumed))} they had superseded {serve}" if outcome.resumed else ""
    return resumed + (f"; {_edits(len(outcome.unchanged))} already so" if outcome.unchanged else "")


def _edits(count: int) -> str:
    return "1 edit" if count == 1 else f"{count:,} edits"
