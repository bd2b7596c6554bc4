"""What the commands print: JSON for programs, tables for people, errors in one line."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sola_scale.errors import SolaError, StoreNotFoundError


@cache
def out() -> Console:
    """The console for results."""
    return Console(highlight=False)


@cache
def err() -> Console:
    """The console for progress and errors: stdout stays clean for a pipe."""
    return Console(stderr=True, highlight=False)


def emit(value: Any) -> None:
    """Print one JSON object on a line of its own; dataclasses and structs as objects."""
    out().out(msgspec.json.encode(value, enc_hook=_plain).decode())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a number of numpy's
        return value.item()
    if hasattr(value, "__dict__"):
        return vars(value)
    raise NotImplementedError(f"no JSON for {type(value).__name__}")


def report_error(error: SolaError, *, as_json: bool) -> None:
    """Say what went wrong and what to do: on stderr for people, besides on stdout for programs."""
    message = str(error)
    if isinstance(error, StoreNotFoundError) and "sola init" not in message:
        message += "; make one with: sola init"
    if as_json:
        emit({"error": {"type": type(error).__name__, "message": message}})
    err().print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


def say(text: str) -> None:
    """Print a line of markup for people."""
    out().print(text, soft_wrap=True)


def facts(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, a pair a line."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(f"[dim]{name}[/]", escape(str(value)))
    out().print(table)


def table(title: str | None, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; cells are plain text."""
    printed = Table(title=title, title_justify="left", header_style="bold", pad_edge=False)
    for name in columns:
        printed.add_column(name, overflow="fold")
    for row in rows:
        printed.add_row(*(escape(str(cell)) for cell in row))
    out().print(printed)


def when(nanoseconds: int) -> str:
    """Show a time of the store's clock in UTC."""
    return datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def size(count: float) -> str:
    """Show a number of bytes in a unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def one_line(text: str, longest: int = 80) -> str:
    """Show a text on one line, shortened in the end if need be."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
