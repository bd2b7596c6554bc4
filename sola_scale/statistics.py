"""What an editor can tell about itself."""

from dataclasses import dataclass
from typing import Any

from sola_scale.histogram import Latencies
from sola_scale.lora.pager import PagerStats
from sola_scale.store import StoreStats, VerifyReport


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorStats:
    """Counts, bytes and latencies of an open editor."""

    store: StoreStats
    """Edits by status, bytes by table."""
    index: Any
    """What the key index holds and how it answers."""
    slots: PagerStats
    """What is resident on the device."""
    routing: Latencies
    """Time to route one prompt, page-in included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorVerification:
    """What a check of the store and its index found."""

    store: VerifyReport
    """Checksums and cross-references."""
    index_faults: tuple[str, ...]
    """How the index differed from the store, in sentences; empty if it agrees."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.store.ok and not self.index_faults
