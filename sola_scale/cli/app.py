"""The root of the command line: which commands there are, in the order a user meets them."""

from typing import Annotated

import typer

from sola_scale import __version__
from sola_scale.cli import (
    answering,
    calibrating,
    care,
    demo,
    evaluating,
    exchanging,
    ingesting,
    lifecycle,
    records,
    stats,
)

app = typer.Typer(
    name="sola",
    help="Edit a language model one fact at a time, many times, and take any edit back.",
    epilog="A store is one folder. Every command takes --json. Exit codes: 0 done, 1 failed, 2 called wrongly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    demo.demo,
    care.init,
    calibrating.calibrate,
    ingesting.ingest,
    answering.generate,
    answering.route,
    records.list_,
    records.show,
    lifecycle.revoke,
    lifecycle.restore,
    lifecycle.purge,
    stats.stats,
    care.verify,
    care.compact,
    care.backup,
    evaluating.eval_,
    exchanging.export,
    exchanging.import_,
):
    app.command(command.__name__.rstrip("_"))(command)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Edit a language model one fact at a time, many times, and take any edit back."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
