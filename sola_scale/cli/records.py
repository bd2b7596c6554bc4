"""sola list, sola show: the edits of a store. Neither needs the model."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_store
from sola_scale.cli.output import emit, err, facts, one_line, table, when

if TYPE_CHECKING:
    from sola_scale.store import EditRecord

_SHOWN = 50


class Status(StrEnum):
    """The statuses of an edit, as typed on a command line."""

    LIVE = "live"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    PURGED = "purged"
    QUARANTINED = "quarantined"


def list_(
    store: options.StorePath,
    *,
    status: Annotated[
        list[Status] | None, typer.Option(help="Only edits of this status; repeat it for several.")
    ] = None,
    tag: options.Tags = None,
    source: options.Source = None,
    since: options.Since = None,
    until: options.Until = None,
    contains: options.Contains = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; {_SHOWN} in a table, all in JSON.")
    ] = None,
    json: options.Json = False,
) -> None:
    """List the edits of a store, in the order they were written."""
    from sola_scale.store import EditFilter, EditStatus

    where = EditFilter(
        status=tuple(EditStatus(one.value) for one in status) if status else None,
        tags=tuple(tag or ()),
        source=source,
        since=since,
        until=until,
        prompt_contains=contains,
        # One more than is shown tells whether there is more.
        limit=limit if json else (limit or _SHOWN) + 1,
    )
    with open_store(store) as opened:
        if json:
            for record in opened.records(where):
                emit(record)
        else:
            _print_list(list(opened.records(where)), limit or _SHOWN)


def show(
    store: options.StorePath,
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of edits.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Show all that is known of edits: texts, training figures, history."""
    with open_store(store) as opened:
        for edit_id in ids:
            record, chain = opened.record(edit_id), opened.chain(edit_id)
            if json:
                emit({**_fields(record), "chain": chain})
            else:
                _print_record(record, chain)


def _fields(record: "EditRecord") -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _print_list(records: "list[EditRecord]", limit: int) -> None:
    rows = (
        (
            record.id,
            record.status,
            one_line(record.prompt, 60),
            one_line(record.target, 30),
            ", ".join(record.tags),
        )
        for record in records[:limit]
    )
    table(None, ("id", "status", "prompt", "target", "tags"), rows)
    if len(records) > limit:
        err().print(
            "… and more; --limit N shows more, --json all, --tag, --source, --status, --contains fewer"
        )


def _print_record(record: "EditRecord", chain: list[int]) -> None:
    rows: list[tuple[str, object]] = [
        ("status", record.status),
        ("prompt", record.prompt),
        ("target", record.target),
        *(("paraphrase", text) for text in record.paraphrases),
        ("tags", ", ".join(record.tags)),
        ("source", record.source or ""),
        ("written", f"{when(record.created_at)} UTC"),
        ("chain", " → ".join(str(one) for one in chain)),
        *(
            (name, f"{value:.6g}" if isinstance(value, float) else value)
            for name, value in record.details.items()
        ),
        *((f"{event.operation}", f"{when(event.at)} UTC {event.note}") for event in record.history),
    ]
    facts(f"[bold]edit {record.id}[/]", [(name, value) for name, value in rows if value != ""])
