"""Opening a store for a command: with its model, or, where no model is needed, without."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sola_scale.cli.output import err

if TYPE_CHECKING:
    from sola_scale.editor import Editor
    from sola_scale.store import LmdbStore


@contextlib.contextmanager
def open_editor(path: Path, model: str, device: str | None, **options: Any) -> Iterator["Editor"]:
    """Open a store on its model; says so meanwhile, since loading takes seconds."""
    with err().status(_loading(model)):
        quiet_transformers()
        from sola_scale.editor import Editor

        editor = Editor.open(path, model, device=device, **options)
    with editor:
        yield editor


@contextlib.contextmanager
def open_store(path: Path, *, read_only: bool = True) -> Iterator["LmdbStore"]:
    """Open a store alone: what only reads or changes records needs no model and no torch."""
    from sola_scale.store import LmdbStore

    with LmdbStore.open(path, read_only=read_only) as store:
        yield store


def quiet_transformers() -> None:
    """Keep the libraries' own bars and advice off the terminal: one progress bar at a time."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.utils import logging

    # Advice for those libraries' own developers, such as that a function of torch's is in beta.
    warnings.filterwarnings("ignore", category=UserWarning, module="torch|transformers|sola_scale")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _loading(model: str) -> str:
    from sola_scale.backbone.smollm2 import NAME, cache_root

    if model == NAME and not any((cache_root() / "models").glob(f"{NAME}-*")):
        return "preparing the default model, once (about half a minute)"
    return f"loading {model}"
