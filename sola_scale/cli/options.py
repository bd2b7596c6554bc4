"""The arguments and options that several commands share, so that they are called the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store.", show_default=False)]

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, one object a line, and nothing else, to stdout.")
]

Model = Annotated[
    str,
    typer.Option(
        help="Base model: 'smollm2' (the default one, from its PyPI package), a folder, or a hub id.",
        envvar="SOLA_MODEL",
    ),
]

Device = Annotated[
    str | None,
    typer.Option(
        help="Where to run the model, such as cpu or cuda:0; CUDA if present.", envvar="SOLA_DEVICE"
    ),
]

EditIds = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", help="Ids of edits.", show_default=False)
]

Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="Only edits with this tag; repeat it for several.")
]
Source = Annotated[str | None, typer.Option(help="Only edits with exactly this source.")]
Contains = Annotated[str | None, typer.Option(help="Only edits whose prompt contains this, in any case.")]
