"""sola generate, sola route: ask the edited model, or ask only which edit would answer."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_editor
from sola_scale.cli.output import emit, out, say, table
from sola_scale.errors import RequestError

if TYPE_CHECKING:
    from sola_scale.editor import Editor
    from sola_scale.generation import Generation
    from sola_scale.routing import Route

Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PROMPT]...", help="Prompts; one a line from stdin if none is given.", show_default=False
    ),
]


def generate(
    store: options.StorePath,
    prompts: Prompts = None,
    *,
    model: options.Model = "smollm2",
    device: options.Device = None,
    slot_memory: options.SlotMemory = options.SLOT_MEMORY,  # type: ignore[assignment]  # typer parses the text
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    base: Annotated[
        bool, typer.Option("--base", help="Show beside it what the model says without edits.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Answer prompts with the edited model, and say which edit answered."""
    asked = _prompts(prompts)
    reading = {"create": False, "read_only": True, "slot_memory": slot_memory}
    with open_editor(store, model, device, **reading) as editor:
        answers = editor.generate(asked, max_new_tokens=max_new_tokens)
        plain = _base(editor, asked, max_new_tokens) if base else None
        for place, (prompt, answer) in enumerate(zip(asked, answers, strict=True)):
            without = plain[place].text if plain else None
            emit(_record(prompt, answer, without)) if json else _print(prompt, answer, without)


def route(
    store: options.StorePath,
    prompts: Prompts = None,
    *,
    model: options.Model = "smollm2",
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Say which edit each prompt would fire, how sure that is, and what else was near."""
    asked = _prompts(prompts)
    with open_editor(store, model, device, create=False, read_only=True) as editor:
        for prompt, decided in zip(asked, editor.route(asked), strict=True):
            if json:
                emit({"prompt": prompt, **_route(decided), "candidates": decided.candidates})
            else:
                _print_route(editor, prompt, decided)


def _prompts(given: Sequence[str] | None) -> list[str]:
    if given:
        return list(given)
    if sys.stdin.isatty():
        raise typer.BadParameter("give a prompt, or pipe prompts in, one a line")
    lines = [line.rstrip("\n") for line in sys.stdin]
    if not any(line.strip() for line in lines):
        raise RequestError("no prompt was given, neither as an argument nor on stdin")
    return [line for line in lines if line.strip()]


def _base(editor: "Editor", prompts: list[str], max_new_tokens: int) -> "list[Generation]":
    with editor.disabled():
        return editor.generate(prompts, max_new_tokens=max_new_tokens)


def _route(route: "Route") -> dict[str, object]:
    return {
        "edit_id": route.edit_id,
        "probability": route.probability,
        "margin": route.margin,
        "threshold": route.threshold,
    }


def _record(prompt: str, answer: "Generation", base: str | None) -> dict[str, object]:
    record = {"prompt": prompt, "text": answer.text, **(_route(answer.route) if answer.route else {})}
    return record if base is None else {**record, "base": base}


def _print(prompt: str, answer: "Generation", base: str | None) -> None:
    out().print(prompt, style="dim", markup=False, soft_wrap=True)
    if base is not None:
        out().print(f"  base  {base.strip()}", markup=False, soft_wrap=True)
    fired = answer.route.edit_id if answer.route else None
    out().print(f"  {answer.text.strip()}", style="bold", markup=False, soft_wrap=True)
    said = (
        "no edit"
        if fired is None or answer.route is None
        else f"edit {fired}, p = {answer.route.probability:.3f}"
    )
    say(f"  [dim]{said}[/]")


def _print_route(editor: "Editor", prompt: str, route: "Route") -> None:
    out().print(prompt, style="bold", markup=False, soft_wrap=True)
    fires = "no edit fires" if route.edit_id is None else f"edit {route.edit_id} fires"
    say(f"{fires}: p = {route.probability:.4f}, threshold {route.threshold:.4f}, margin {route.margin:.4f}")
    if route.candidates:
        rows = (
            (one.edit_id, f"{one.probability:.4f}", f"{one.distance:.3f}", *_said(editor, one.edit_id))
            for one in route.candidates
        )
        table(None, ("edit", "p", "distance", "prompt", "target"), rows)


def _said(editor: "Editor", edit_id: int) -> tuple[str, str]:
    record = editor.edit(edit_id)
    return record.prompt, record.target
