"""Edits as PEFT adapter folders, and PEFT adapter folders as edits."""

from pathlib import Path

from sola_scale.backbone import capture_views
from sola_scale.errors import EditStateError
from sola_scale.keying import key_rows
from sola_scale.lora.codec import decode, encode
from sola_scale.lora.interchange import export_peft, import_peft
from sola_scale.opening import Parts
from sola_scale.requests import EditRequest
from sola_scale.store import EditStatus, NewEdit, Store


def export_edit(parts: Parts, edit_id: int, folder: Path) -> None:
    """Write an edit, whatever its status, as a folder that ``peft.PeftModel.from_pretrained`` loads.

    Raises:
        UnknownEditError: no edit has this id.
        EditStateError: the edit is purged, or the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise EditStateError(f"{folder} is not empty; name a new folder for the adapter")
    record = parts.store.record(edit_id)
    adapter = decode(parts.store.weights([edit_id])[0])
    layout = parts.layouts[adapter.layout_index]
    export_peft(adapter, layout, parts.backbone, folder, prompt=record.prompt, target=record.target)


def adopted(parts: Parts, folder: Path, request: EditRequest) -> NewEdit:
    """Make an edit of a PEFT LoRA folder: its weights as they are, in float16, and keys from the request's prompts.

    Raises:
        RequestError: the folder is no plain LoRA adapter, or the store has no layout that holds it.
    """
    adapter = import_peft(folder, parts.layouts)
    prompts = (request.prompt, *request.paraphrases)
    views_KVD = capture_views(parts.backbone, prompts, parts.calibration.views).float().cpu().numpy()
    return NewEdit(
        prompt=request.prompt,
        target=request.target,
        paraphrases=request.paraphrases,
        tags=request.tags,
        source=request.source,
        keys=key_rows(parts.calibration, list(views_KVD)),
        weights=encode(adapter, "fp16"),
        supersedes=_live(parts.store, request.prompt),
        calibration=parts.calibration_id,
        details={"imported": "PEFT"},
    )


def _live(store: Store, prompt: str) -> int | None:
    """The live edit of exactly this prompt, which a newer one takes over from."""
    found = store.find_prompt(prompt)
    return next((one for one in found if store.record(one).status is EditStatus.LIVE), None)
