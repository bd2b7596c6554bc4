"""What an index has to say about itself."""

import dataclasses

from sola_index.background import Background
from sola_index.lists import ListsTier
from sola_index.maintenance import State


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """A look at an index, for people and for dashboards."""

    tier: str
    """``flat``, ``scan`` or ``lists``."""
    live: int
    """Keys that can be found."""
    dead: int
    """Removed keys whose rows are not cleared away yet."""
    waiting: int
    """Rows that are not encoded yet and searched exactly; 0 in the flat tier."""
    lists: int
    """Lists of the lists tier; 0 in the others."""
    trained_on: int
    """Live rows the tier was trained for; 0 in the flat tier."""
    code_error: float
    """Root of the mean squared distance between a key and its code, over recent keys."""
    code_error_at_training: float
    """The same, of the training sample."""
    key_bytes: int
    """Bytes of the full keys, dead ones included."""
    other_bytes: int
    """Bytes of all the rest: ids, liveness, codes, row numbers, hashes."""
    recall: float | None
    """Share of self-made queries whose nearest key was found, at the last self-test; None before the first."""
    rebuilds: int
    """Rebuilds finished since the index was made or loaded."""
    rebuilding: bool
    """Whether one is running."""
    last_rebuild: str | None
    """Why the last one was made."""
    last_rebuild_seconds: float
    """How long it took."""
    last_error: str | None
    """What the last failed rebuild died of, if any did; the index works on without it."""


def describe(state: State, background: Background, recall: float | None) -> IndexStats:
    """Statistics of a state and of the work behind it."""
    table, tier = state
    known = tier.measures if tier else None
    return IndexStats(
        tier=tier.name if tier else "flat",
        live=table.live_count,
        dead=table.count - table.live_count,
        waiting=table.count - tier.covered if tier else 0,
        lists=tier.codes.nlist if isinstance(tier, ListsTier) else 0,
        trained_on=known.trained_on if known else 0,
        code_error=known.recent_error**0.5 if known else 0.0,
        code_error_at_training=known.trained_error**0.5 if known else 0.0,
        key_bytes=table.count * table.dim * 4,
        other_bytes=table.nbytes_beside_keys + (tier.nbytes if tier else 0),
        recall=recall,
        rebuilds=background.rebuilds,
        rebuilding=background.busy,
        last_rebuild=background.last_reason,
        last_rebuild_seconds=background.last_seconds,
        last_error=background.last_error,
    )
