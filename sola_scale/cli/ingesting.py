"""sola ingest: a file of requests becomes edits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_editor
from sola_scale.cli.output import emit, err, one_line, say, table
from sola_scale.cli.progress import JobProgress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sola_scale.editor import Editor
    from sola_scale.ingest import IngestReport, Outcome
    from sola_scale.requests import BadRecord, EditRequest

_SHOWN_FAILURES = 20
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Policy = Literal["supersede", "reject", "keep-first"]
Collision = Literal["coexist", "supersede", "reject"]


def ingest(
    store: options.StorePath,
    file: Annotated[
        Path,
        typer.Argument(help="JSONL, JSON, CSV, TSV or Parquet, packed by gzip or not.", show_default=False),
    ],
    *,
    model: options.Model = "smollm2",
    device: options.Device = None,
    format_: Annotated[
        Literal["jsonl", "json", "csv", "tsv", "parquet"] | None,
        typer.Option("--format", help="Seen from the file's name and content if not given."),
    ] = None,
    on_conflict: Annotated[
        Policy,
        typer.Option(
            help="When an older edit of the same prompt says something else: replace it, fail, or skip."
        ),
    ] = "supersede",
    on_collision: Annotated[
        Collision,
        typer.Option(
            help="When a prompt fires an older edit of another prompt: keep both, replace it, or skip."
        ),
    ] = "coexist",
    json: options.Json = False,
) -> None:
    """Train the edits that a file asks for and write them to the store.

    One record a line with prompt and target, if you like with paraphrases, tags and source; the records of
    CounterFact, zsRE, KnowEdit, EasyEdit and WISE work as they are. A bad record is reported and the rest goes on.
    Each edit is durable and in use as soon as it is counted; a job that was killed is simply started again.
    Exit code 1 if any record failed.
    """
    from sola_scale.requests import read_requests

    # A first pass counts the records for the progress bar: seconds at most, where training takes hours.
    total = sum(1 for _ in read_requests(file, format_))
    with open_editor(store, model, device, create=False) as editor:
        report = _run(
            editor,
            read_requests(file, format_),
            total,
            silent=json,
            on_conflict=on_conflict,
            on_collision=on_collision,
        )
    failed = [outcome for outcome in report.outcomes if outcome.status == "failed"]
    emit(_summary(report, failed)) if json else _print(report, failed)
    if failed:
        raise typer.Exit(1)


def _run(
    editor: "Editor",
    requests: "Iterable[EditRequest | BadRecord]",
    total: int,
    *,
    silent: bool,
    **policies: Any,
) -> "IngestReport":
    with JobProgress("ingesting", total, silent=silent) as progress:
        try:
            return editor.ingest(
                requests, on_outcome=lambda outcome: progress.step(outcome.status), **policies
            )
        except KeyboardInterrupt:
            err().print("interrupted: what was counted is written; start the same job again to go on")
            raise typer.Exit(INTERRUPTED) from None


def _summary(report: "IngestReport", failed: list["Outcome"]) -> dict[str, object]:
    return {
        "counts": report.counts,
        "seconds": report.seconds,
        "edits_per_second": _rate(report),
        "written": report.written,
        "failed": failed,
        "collisions": [one for one in report.outcomes if one.collides is not None],
        "passed_over": [one for one in report.outcomes if one.reason and one.status != "failed"],
    }


def _rate(report: "IngestReport") -> float:
    return len(report.written) / report.seconds if report.seconds else 0.0


def _print(report: "IngestReport", failed: list["Outcome"]) -> None:
    counts = (
        ", ".join(f"{count:,} {status}" for status, count in sorted(report.counts.items())) or "no records"
    )
    say(f"{counts} in {report.seconds:.1f} s ({_rate(report):.1f} edits/s)")
    collisions = [one for one in report.outcomes if one.collides is not None]
    if collisions:
        mixed = sum(one.told_apart is False for one in collisions)
        say(
            f"{len(collisions):,} prompts fired an edit of another prompt, {mixed:,} of which verification does not tell apart from it; "
            "--json says which"
        )
    if failed:
        table(
            "failed",
            ("line", "prompt", "reason"),
            (
                (one.line or "", one_line(one.prompt or "", 50), one.reason)
                for one in failed[:_SHOWN_FAILURES]
            ),
        )
    if len(failed) > _SHOWN_FAILURES:
        err().print(f"… and {len(failed) - _SHOWN_FAILURES:,} more; --json has them all")
