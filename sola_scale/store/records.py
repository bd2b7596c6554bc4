"""What goes into a store and what comes out of it: edits, their keys, their records."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Detail: TypeAlias = float | int | str
"""A training figure kept with an edit."""


class EditStatus(StrEnum):
    """Where an edit stands; only a live one may fire."""

    LIVE = "live"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    PURGED = "purged"
    QUARANTINED = "quarantined"

    @property
    def eligible(self) -> bool:
        """Whether the edit may be its chain's active one: nothing stopped it."""
        return self in (EditStatus.LIVE, EditStatus.SUPERSEDED)


class Operation(StrEnum):
    """What a transaction did; the verb of a log entry and of an edit's history."""

    WRITE = "write"
    REVOKE = "revoke"
    RESTORE = "restore"
    PURGE = "purge"
    QUARANTINE = "quarantine"
    RECALIBRATE = "recalibrate"
    SUPERSEDE = "supersede"
    RESUME = "resume"


class StoreManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a store is bound to, written once at its creation."""

    format_version: int = 1
    """Version of the on-disk format; set by the store itself."""
    model_name: str
    """Name or path of the base model, for people."""
    fingerprint: dict[str, str]
    """Part (model, tokenizer, layout) → hash; opening compares them one by one."""
    layout: dict[str, Any] = msgspec.field(default_factory=dict)
    """The adapter layout; opaque to the store."""
    recipe: dict[str, Any] = msgspec.field(default_factory=dict)
    """How edits are trained; opaque to the store."""
    created_at: int = 0
    """Nanoseconds since the epoch; set by the store itself."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyRows:
    """The calibrated key vectors of one edit: n rows, one for its prompt and one per given paraphrase."""

    retrieval: NDArray[np.floating]
    """Float16 or float32 [n, retrieval width]: what the index holds."""
    verification: NDArray[np.float16]
    """Float16 [n, verification width]: what the verifier compares."""

    def __len__(self) -> int:
        return len(self.retrieval)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewEdit:
    """A trained edit on its way into the store."""

    prompt: str
    """The prompt that was edited."""
    target: str
    """What the model shall answer."""
    keys: KeyRows
    """The frozen keys."""
    weights: bytes
    """The encoded LoRA, opaque to the store."""
    paraphrases: tuple[str, ...] = ()
    """Given rewordings of the prompt."""
    tags: tuple[str, ...] = ()
    """Labels to select edits by."""
    source: str | None = None
    """Where the fact came from."""
    supersedes: int | None = None
    """Id of an edit whose chain this one joins and takes over."""
    calibration: int = 0
    """Id of the calibration that made the keys."""
    details: dict[str, Detail] | None = None
    """Training figures."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One line of an edit's history."""

    seq: int
    """Sequence number of the transaction."""
    at: int
    """Nanoseconds since the epoch."""
    operation: Operation
    """What happened to the edit."""
    note: str = ""
    """The reason of a quarantine, or the edit that superseded this one."""


class EditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All the store knows of an edit but its weights and its key vectors."""

    id: int
    """Public name of the edit; never reused."""
    prompt: str
    """The edited prompt; empty once purged."""
    target: str
    """The new answer; empty once purged."""
    paraphrases: tuple[str, ...]
    """Given rewordings; empty once purged."""
    tags: tuple[str, ...]
    """Labels; empty once purged."""
    source: str | None
    """Where the fact came from; None once purged."""
    created_at: int
    """Nanoseconds since the epoch."""
    status: EditStatus
    """Where the edit stands."""
    supersedes: int | None
    """The edit it took over from."""
    chain: int
    """Id of the oldest edit of its chain; its own when it is alone."""
    calibration: int
    """Calibration of its keys."""
    details: dict[str, Detail]
    """Training figures; empty once purged."""
    key_ids: tuple[int, ...]
    """Ids of its keys in the index; empty unless live."""
    history: tuple[Event, ...]
    """What happened to it, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditFilter:
    """Which records to list; every given condition must hold."""

    ids: tuple[int, ...] | None = None
    """Only these edits; unknown ids are skipped."""
    status: tuple[EditStatus, ...] | None = None
    """Any of these statuses."""
    tags: tuple[str, ...] = ()
    """All of these tags."""
    source: str | None = None
    """Exactly this source."""
    since: int | None = None
    """Created at or after, nanoseconds since the epoch."""
    until: int | None = None
    """Created before, nanoseconds since the epoch."""
    prompt_contains: str | None = None
    """A part of the prompt, upper and lower case alike."""
    after_id: int = 0
    """Only edits with a greater id: where a listing goes on."""
    limit: int | None = None
    """At most so many."""

    def matches(self, record: EditRecord) -> bool:
        """Whether a record meets every condition; the limit is the caller's."""
        return (
            record.id > self.after_id
            and (self.ids is None or record.id in self.ids)
            and (self.status is None or record.status in self.status)
            and self.fits(record)
        )

    def fits(self, record: "Described") -> bool:
        """Whether what an edit was written with meets the conditions on it."""
        return (
            all(tag in record.tags for tag in self.tags)
            and self.source in (None, record.source)
            and (self.since is None or record.created_at >= self.since)
            and (self.until is None or record.created_at < self.until)
            and (self.prompt_contains is None or self.prompt_contains.casefold() in record.prompt.casefold())
        )


class Described(Protocol):
    """What a filter looks at of an edit's unchanging part."""

    @property
    def prompt(self) -> str:
        """The edited prompt."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Its labels."""

    @property
    def source(self) -> str | None:
        """Its origin."""

    @property
    def created_at(self) -> int:
        """Nanoseconds since the epoch."""


def unique(ids: Iterable[int]) -> list[int]:
    """The ids in their order, each once."""
    return list(dict.fromkeys(int(edit_id) for edit_id in ids))
