"""What the slots have been doing, in numbers; free of torch, so that whoever only reads them need not load it."""

from dataclasses import dataclass

from sola_scale.histogram import Latencies


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerStats:
    """What the slots have been doing."""

    hits: int
    """Distinct edits of a batch that were resident."""
    misses: int
    """Distinct edits of a batch that were read from the store."""
    evictions: int
    """Edits that gave their slot to another."""
    overflows: int
    """Edits of a batch that found every slot taken by the batch itself: used from beside the slots, not kept."""
    resident: int
    """Edits in a slot now."""
    capacity: int
    """Slots in all."""
    slot_bytes: int
    """Device memory that the slots take when all are filled."""
    page_in: Latencies
    """Time to bring one missing edit in: read, check, decode, copy."""
    staging: Latencies
    """Time until a batch holds all the adapters that it fires: look-up, page-in of what is missing, gather."""
