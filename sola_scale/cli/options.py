"""The arguments and options that several commands share, so that they are called the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from sola_scale.cli.quantities import memory, moment

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

IdsFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        allow_dash=True,
        help="Take ids of edits from a file, one a line, or what `sola list --json` printed; - is stdin.",
    ),
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change, and change nothing.", show_default=False)
]

SlotMemory = Annotated[
    int,
    typer.Option(
        parser=memory,
        metavar="SIZE",
        help="Device memory for adapters that stay resident, such as 256MiB.",
        envvar="SOLA_SLOT_MEMORY",
    ),
]
SLOT_MEMORY = "256MiB"

Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="Only edits with this tag; repeat it for several.")
]
Source = Annotated[str | None, typer.Option(help="Only edits with exactly this source.")]
Since = Annotated[
    int | None,
    typer.Option(
        parser=moment,
        metavar="TIME",
        help="Only edits written at or after this: 2026-05-03, 2026-05-03T14:30 (UTC), or 36h for so long ago.",
    ),
]
Until = Annotated[
    int | None, typer.Option(parser=moment, metavar="TIME", help="Only edits written before this.")
]
Contains = Annotated[str | None, typer.Option(help="Only edits whose prompt contains this, in any case.")]
