"""sola calibrate: new keys and a new threshold for all edits of a store."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Self

import typer

from sola_scale.cli import options
from sola_scale.cli.opening import open_editor
from sola_scale.cli.output import emit, facts
from sola_scale.cli.progress import JobProgress


def calibrate(
    store: options.StorePath,
    pairs: Annotated[
        Path | None,
        typer.Argument(
            help="JSON lines of prompt, paraphrases and negatives; the shipped ones if not given."
        ),
    ] = None,
    *,
    false_fire: Annotated[
        float,
        typer.Option(min=0.0, max=0.5, help="Share of other questions that may fire an edit all the same."),
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Of the fit; the same pairs and seed give the same keys.")] = 0,
    cross_encoder: Annotated[
        bool,
        typer.Option(
            "--cross-encoder", help="Train one, to read doubtful prompts a second time: hours on a CPU."
        ),
    ] = False,
    model: options.Model = "smollm2",
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Fit keys and threshold to pairs of questions, and give every edit its new keys, all at once.

    The old keys serve until the new ones are all there; an interruption keeps them.
    """
    from sola_scale.keys import read_pairs

    given = read_pairs(pairs) if pairs is not None else None
    with open_editor(store, model, device, create=False) as editor, _Phases(silent=json) as phases:
        fitted = editor.calibrate(
            given, false_fire=false_fire, seed=seed, cross_encoder=cross_encoder, progress=phases.tell
        )
    figures = {"calibration": fitted.id, "threshold": fitted.threshold, "false_fire": fitted.false_fire}
    emit(figures) if json else facts("", list(figures.items()))


_COUNTED = {"training": "steps"}


class _Phases:
    """One progress display after another: fitting, training if there is any, then the keys."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._open = ExitStack()
        self._phase = ""
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._open.close()

    def tell(self, phase: str, done: int) -> None:
        """Show that so many prompts or steps of a phase are done."""
        if phase != self._phase:
            self._open.close()
            self._progress = self._open.enter_context(
                JobProgress(f"{phase}: {_COUNTED.get(phase, 'prompts')}", None, silent=self._silent)
            )
            self._phase, self._done = phase, 0
        self._progress.step(steps=done - self._done)
        self._done = done
