"""What a store says about itself: sizes and health."""

from dataclasses import dataclass, field

from sola_scale.store.records import EditStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStats:
    """One table of the file."""

    entries: int
    """Values in it."""
    bytes: int
    """Pages it takes, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """How many edits a store holds and what they take."""

    statuses: dict[EditStatus, int]
    """Edits of each status."""
    active_keys: int
    """Keys that the index shall hold."""
    last_seq: int
    """Newest log entry."""
    low_water: int
    """Log entries up to here are truncated."""
    payload: dict[str, int]
    """Bytes of what was given: weights, retrieval, verification, records."""
    tables: dict[str, TableStats]
    """Pages by table, inner pages included."""
    used_bytes: int
    """Pages in use, free ones left out."""
    file_bytes: int
    """Length of the file, free pages included."""

    @property
    def edits(self) -> int:
        """Edits ever written, purged ones included."""
        return sum(self.statuses.values())

    @property
    def payload_bytes(self) -> int:
        """All that was given."""
        return sum(self.payload.values())

    @property
    def fixed_bytes(self) -> int:
        """What a store takes before its first edit, calibrations above all."""
        return sum(self.tables[name].bytes for name in ("meta", "settings", "blobs") if name in self.tables)

    @property
    def bytes_per_edit(self) -> float:
        """Used bytes an edit: keys, weights, record, history and log; what is there once for all edits left out."""
        return (self.used_bytes - self.fixed_bytes) / self.edits if self.edits else 0.0

    @property
    def overhead(self) -> float:
        """Used bytes over payload bytes."""
        return self.used_bytes / self.payload_bytes if self.payload_bytes else 0.0

    def projected_bytes(self, edits: int) -> int:
        """What so many edits like these would take."""
        return self.fixed_bytes + round(self.bytes_per_edit * edits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is wrong."""

    table: str
    """Where."""
    what: str
    """What is wrong, for people."""
    edit_id: int | None = None
    """Which edit it concerns, if one."""


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """The outcome of checking a whole store."""

    edits: int = 0
    """Edits looked at."""
    values: int = 0
    """Checksums compared."""
    damages: list[Damage] = field(default_factory=list)
    """All that is wrong, but for edits that are quarantined already."""
    known: list[Damage] = field(default_factory=list)
    """What is wrong with quarantined edits, which never fire."""
    quarantined: tuple[int, ...] = ()
    """Edits that were stopped for it."""
    repaired: tuple[str, ...] = ()
    """What was rebuilt from the rest, for people."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages

    @property
    def damaged_edits(self) -> tuple[int, ...]:
        """Edits that something is wrong with, quarantined ones included, ascending."""
        found = {damage.edit_id for damage in (*self.damages, *self.known)}
        return tuple(sorted(edit_id for edit_id in found if edit_id is not None))
