"""sola export, sola import: edits as PEFT adapter folders, and back."""

from pathlib import Path
from typing import Annotated

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_editor
from sola_scale.cli.output import emit, say

Folder = Annotated[Path, typer.Argument(help="The PEFT adapter's folder.", show_default=False)]


def export(
    store: options.StorePath,
    edit_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the edit.", show_default=False)],
    folder: Folder,
    *,
    model: options.Model = "smollm2",
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Write an edit as an ordinary PEFT adapter, for use without sola-scale: no key, always on."""
    with open_editor(store, model, device, create=False, read_only=True) as editor:
        editor.export(edit_id, folder)
    emit({"edit_id": edit_id, "folder": folder}) if json else say(f"wrote edit {edit_id} to {folder}")


def import_(
    store: options.StorePath,
    folder: Folder,
    *,
    prompt: Annotated[str, typer.Option(help="The prompt that shall fire it.")],
    target: Annotated[str, typer.Option(help="What it makes the model say; kept for the record.")],
    paraphrase: Annotated[list[str] | None, typer.Option(help="Another wording that shall fire it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag for the edit.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from.")] = None,
    model: options.Model = "smollm2",
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Take a PEFT LoRA in as an edit with a prompt of its own; it must fit a layout of the store."""
    from sola_scale.requests import EditRequest

    request = EditRequest(
        prompt, target, paraphrases=tuple(paraphrase or ()), tags=tuple(tag or ()), source=source
    )
    with open_editor(store, model, device, create=False) as editor:
        edit_id = editor.adopt(folder, request)
    emit({"edit_id": edit_id}) if json else say(f"edit {edit_id}")
