"""sola demo: 300 real facts into a real model, before everybody's eyes."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from sola_scale.cli import options
from sola_scale.cli.opening import open_editor
from sola_scale.cli.output import emit, err, facts, one_line, out, say, size
from sola_scale.cli.progress import JobProgress
from sola_scale.errors import StoreExistsError

if TYPE_CHECKING:
    from sola_scale.editor import Editor
    from sola_scale.evaluate.demonstration import Answers, Material, RevokeProof
    from sola_scale.ingest import IngestReport

_SHOWN = 8
_WIDEST = 40


def demo(
    *,
    store: Annotated[
        Path | None, typer.Option(help="Where to make the store; a new temporary folder if not given.")
    ] = None,
    count: Annotated[int, typer.Option(min=3, help="How many facts.")] = 300,
    seed: Annotated[int, typer.Option(help="Another seed, other facts.")] = 0,
    model: options.Model = "smollm2",
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Edit real facts into a real model, ask about them, take one back and prove it.

    The facts are GeoNames': towns, and the country, time zone or US state that each lies in; a small model knows
    few of them. Exit code 1 if the revocation was not exact.
    """
    from sola_scale.evaluate.demonstration import Material

    folder = store or Path(tempfile.mkdtemp(prefix="sola-demo-")) / "store"
    if (folder / "edits.lmdb").exists():
        raise StoreExistsError(f"there is a store at {folder} already; the demo wants a fresh one")
    with err().status("reading GeoNames"):
        material = Material.draw(count, seed=seed)
    with open_editor(folder, model, device) as editor:
        figures = _Demo(editor, material, silent=json).run()
    if json:
        emit({"store": folder, **figures})
    else:
        _invite(folder, material, model)
    if not figures["revoke"].exact:
        raise typer.Exit(1)


class _Demo:
    """The steps of the demo, and what each printed."""

    def __init__(self, editor: "Editor", material: "Material", *, silent: bool) -> None:
        self._editor = editor
        self._material = material
        self._silent = silent

    def run(self) -> dict[str, Any]:
        """Ask, edit, ask again, revoke; returns the figures."""
        from sola_scale.evaluate.demonstration import prove_revoke, silent

        facts = self._material.facts
        prompts = [fact.prompt for fact in facts]
        beside = [fact.prompt for fact in self._material.neighbours]
        base = self._ask("base model", prompts, base=True)
        base_beside = self._ask("base model, neighbours", beside[:_SHOWN], base=True)
        report = self._ingest()
        edited = self._ask("edited model", prompts)
        given = self._ask("edited model, reworded", self._material.given())
        unseen = self._ask("edited model, unseen wording", self._material.reworded())
        edited_beside = self._ask("edited model, neighbours", beside[:_SHOWN])
        if not self._silent:
            self._print_sample(base, edited, given, edited_beside, base_beside)
        proof = prove_revoke(self._editor, report.written[0])
        figures = self._figures(report, base, edited) | {
            "given_wordings_right": given.right(facts),
            "unseen_wordings_right": unseen.right(facts),
        }
        figures |= {"neighbours_silent": silent(self._editor, beside), "revoke": proof}
        if not self._silent:
            _print_proof(proof)
            _print_totals(figures)
        return figures

    def _ask(self, title: str, prompts: list[str], *, base: bool = False) -> "Answers":
        from sola_scale.evaluate.demonstration import ask

        with JobProgress(f"asking the {title}", len(prompts), silent=self._silent) as progress:
            return ask(self._editor, prompts, base=base, tick=lambda steps: progress.step(steps=steps))

    def _ingest(self) -> "IngestReport":
        from sola_scale.evaluate.demonstration import edit

        with JobProgress("editing", len(self._material.facts), silent=self._silent) as progress:
            return edit(self._editor, self._material, lambda outcome: progress.step(outcome.status))

    def _figures(self, report: "IngestReport", base: "Answers", edited: "Answers") -> dict[str, Any]:
        facts, stats = self._material.facts, self._editor.stats()
        return {
            "facts": len(facts),
            "outcomes": report.counts,
            "base_right": base.right(facts),
            "edited_right": edited.right(facts),
            "seconds": report.seconds,
            "edits_per_second": len(report.written) / report.seconds,
            "bytes_per_edit": stats.store.bytes_per_edit,
            "route_ms": 1e3 * stats.routing.total_seconds / max(stats.routing.count, 1),
        }

    def _print_sample(
        self,
        base: "Answers",
        edited: "Answers",
        given: "Answers",
        beside: "Answers",
        base_beside: "Answers",
    ) -> None:
        sample = Table(title="\nA sample", title_justify="left", show_header=False, pad_edge=False)
        for place in range(len(beside.prompts)):
            beside_now, beside_then = beside.generations[place], base_beside.generations[place]
            same = "unchanged" if beside_now.token_ids == beside_then.token_ids else "[red]changed[/]"
            sample.add_row("base", *_asked(base, place))
            sample.add_row("edited", *_asked(edited, place), style="bold")
            sample.add_row("reworded", *_asked(given, place))
            sample.add_row(f"neighbour, {same}", *_asked(beside, place), style="dim", end_section=True)
        out().print(sample)


def _asked(answers: "Answers", place: int) -> tuple[str, str]:
    """A question and its answer, as cells of the sample."""
    said = one_line(answers.generations[place].text, _WIDEST)
    return escape(answers.prompts[place]), escape(said)


def _print_proof(proof: "RevokeProof") -> None:
    say(f"\n[bold]Taking edit {proof.edit_id} back[/]  [dim]{proof.prompt}[/]")
    for holds, claim in (
        (proof.edited_differs, "edited, its logits differ from the base model's"),
        (
            proof.revoked_is_base,
            f"revoked ({proof.revoke_seconds * 1e3:.0f} ms), they are the base model's, bit for bit",
        ),
        (proof.restored_is_edited, "restored, they are the edited ones again, bit for bit"),
    ):
        say(f"  [green]yes[/]  {claim}" if holds else f"  [red]NO[/]   {claim}")


def _print_totals(figures: dict[str, Any]) -> None:
    count = figures["facts"]
    outcomes = ", ".join(f"{number} {status}" for status, number in figures["outcomes"].items())
    facts(
        "\n[bold]In all[/]",
        [
            (
                "edits",
                f"{outcomes}, in {figures['seconds']:.1f} s: {figures['edits_per_second']:.1f} edits/s",
            ),
            ("right before", f"{figures['base_right']} of {count}"),
            ("right after", f"{figures['edited_right']} of {count}"),
            ("reworded, as given", f"{figures['given_wordings_right']} of {count} right"),
            ("reworded, unseen", f"{figures['unseen_wordings_right']} of {count} right"),
            ("neighbours", f"{figures['neighbours_silent']} of {count} fire no edit"),
            ("an edit on disk", f"{size(figures['bytes_per_edit'])}, keys, log and records included"),
            ("a route", f"{figures['route_ms']:.2f} ms a prompt, page-in included"),
        ],
    )


def _invite(folder: Path, material: "Material", model: str) -> None:
    chosen = "" if model == "smollm2" else f" --model {model}"
    say(f"\nThe store stays at {folder}. Ask it yourself:")
    say(f'  sola generate {folder} "{material.reworded()[0]}" --base{chosen}')
    say(f"  sola list {folder}")
