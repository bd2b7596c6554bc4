"""sola eval: a data set is edited in and every edit asked what it was made for."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sola_scale.cli import options
from sola_scale.cli.ingesting import INTERRUPTED
from sola_scale.cli.opening import open_editor
from sola_scale.cli.output import emit, err, facts
from sola_scale.cli.progress import JobProgress

if TYPE_CHECKING:
    from sola_scale.editor import Editor
    from sola_scale.evaluate.examination import Finding
    from sola_scale.evaluate.scores import Scores, Share


def eval_(
    store: options.StorePath,
    file: Annotated[Path, typer.Argument(help="A data set that sola ingest reads.", show_default=False)],
    *,
    model: options.Model = "smollm2",
    device: options.Device = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to keep what was found, a line a case; started again, the command goes on from there."
        ),
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="Records to leave out at the beginning.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Most records to examine.")] = None,
    fluency: Annotated[
        int, typer.Option(min=0, help="Edits whose further text is compared with the base model's.")
    ] = 64,
    json: options.Json = False,
) -> None:
    """Make the edits of a data set and ask each one freely: its own prompt, and other wordings held back from it.

    Each question is asked with its own edit fired, whatever the router would say: this examines the edits. Edits that
    the store holds already are not trained again.
    """
    from sola_scale.evaluate.cases import read_cases
    from sola_scale.evaluate.examination import FindingsFile, examine
    from sola_scale.evaluate.scores import score

    total = sum(1 for _ in read_cases(file, skip=skip, limit=limit))
    kept = FindingsFile(out)
    with open_editor(store, model, device) as editor:
        with JobProgress("examining", total, silent=json) as progress:
            try:
                cases = read_cases(file, skip=skip, limit=limit)
                findings = examine(editor, cases, kept, lambda finding: progress.step(finding.status))
            except KeyboardInterrupt:
                err().print("interrupted: with --out, start the same command again to go on")
                raise typer.Exit(INTERRUPTED) from None
        scores = score(findings, largest_class=editor.size_classes - 1)
        written = _fluency(editor, findings, fluency) if fluency else {}
    emit({**asdict(scores), "fluency": written}) if json else _print(scores, written)


def _fluency(editor: "Editor", findings: list["Finding"], count: int) -> dict[str, Any]:
    from sola_scale.evaluate.fluency import after_the_answer, of_unrelated_prompts

    # A later record may have superseded an edit since it was examined.
    live = {record.id for record in editor.edits(status="live")}
    chosen = [(one, one.edit_id) for one in findings if one.exact and one.edit_id in live][:count]
    ids = [edit_id for _, edit_id in chosen if edit_id is not None]
    answers = [one.answer for one, _ in chosen]
    return {
        "after_the_answer": asdict(after_the_answer(editor, [one.prompt for one, _ in chosen], answers, ids)),
        "unrelated_prompts": asdict(of_unrelated_prompts(editor)),
    }


def _print(scores: "Scores", fluency: dict[str, Any]) -> None:
    rows: list[tuple[str, object]] = [
        ("cases", ", ".join(f"{count} {status}" for status, count in scores.statuses.items())),
        ("own prompt: exactly the target", _share(scores.reliability)),
        ("held-back wordings: the target", _share(scores.reworded_says)),
        ("held-back wordings: nothing else", _share(scores.reworded_exact)),
        (
            "bytes of weights an edit",
            f"{scores.bytes_mean:,.0f}; short answers {scores.bytes_mean_short:,.0f}",
        ),
        ("size classes", scores.size_classes),
        ("training steps", f"{scores.steps_mean:.1f}"),
        *((f"failed: {reason}", count) for reason, count in scores.reasons.items()),
    ]
    for name, one in fluency.items():
        entropies = f"{one['edited']:.2f} bits, base {one['base']:.2f}; {one['same']:.0%} the same"
        rows.append((f"n-gram entropy {name.replace('_', ' ')}", entropies))
    facts("", rows)


def _share(share: "Share") -> str:
    return f"{share.value:.3f} ({share.hits} of {share.of}; 95 %: {share.low:.3f} to {share.high:.3f})"
