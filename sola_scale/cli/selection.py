"""Which edits a command means: those named by id, or all that its filters find."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sola_scale.store import EditFilter, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What was typed; ids and filters exclude one another, so that no filter silently spares a named edit."""

    ids: list[int] | None
    """Ids, as arguments."""
    ids_from: Path | None
    """A file with ids."""
    tags: list[str] | None
    """All of these tags."""
    source: str | None
    """Exactly this source."""
    since: int | None
    """Written at or after, nanoseconds since the epoch."""
    until: int | None
    """Written before, nanoseconds since the epoch."""
    contains: str | None
    """A part of the prompt."""

    def edits(self, store: "Store") -> list[int]:
        """The ids of the edits meant, those given by id in the order given; purged ones only if they were.

        Raises:
            BadParameter: neither or both ways of naming edits were used, or the file holds something else.
        """
        by_id = bool(self.ids or self.ids_from)
        if by_id == self._filtered():
            raise typer.BadParameter(
                "name edits either by id (ID… or --ids-from) or by --tag, --source, --since, --until and --contains"
            )
        if by_id:
            listed = read_ids(self.ids_from) if self.ids_from else ()
            return list(dict.fromkeys([*(self.ids or ()), *listed]))
        return [one.id for one in store.records(self._filter())]

    def _filtered(self) -> bool:
        given = (self.source, self.since, self.until, self.contains)
        return bool(self.tags) or any(one is not None for one in given)

    def _filter(self) -> "EditFilter":
        from sola_scale.store import EditFilter, EditStatus

        return EditFilter(
            tags=tuple(self.tags or ()),
            source=self.source,
            since=self.since,
            until=self.until,
            prompt_contains=self.contains,
            status=tuple(status for status in EditStatus if status is not EditStatus.PURGED),
        )


def read_ids(path: Path) -> Iterator[int]:
    """Ids of a file, ``-`` for stdin.

    Raises:
        BadParameter: a line is neither an id nor an object with one, or there is no such file.
    """
    if str(path) == "-":
        yield from _ids(sys.stdin)
        return
    try:
        with path.open(encoding="utf-8") as lines:
            yield from _ids(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error


def _ids(lines: Iterable[str]) -> Iterator[int]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _id(line, number)


def _id(line: str, number: int) -> int:
    try:
        value = json.loads(line)
        found = value["id"] if isinstance(value, dict) else value
    except (ValueError, KeyError, RecursionError):
        found = None
    if type(found) is not int or found < 1:
        raise typer.BadParameter(
            f"line {number} of the ids is neither an id nor an object with one: {line[:60]!r}"
        )
    return found
