"""What an editor can tell about itself."""

from dataclasses import dataclass
from typing import Any

from sola_scale.histogram import Latencies
from sola_scale.lora.occupancy import PagerStats
from sola_scale.store import EditStatus, StoreStats, VerifyReport


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

    @property
    def registered(self) -> int:
        """Edits ever written, whatever became of them."""
        return self.store.edits

    @property
    def live(self) -> int:
        """Edits that may fire."""
        return self.store.statuses[EditStatus.LIVE]

    @property
    def revoked(self) -> int:
        """Edits that were taken back."""
        return self.store.statuses[EditStatus.REVOKED]

    @property
    def resident(self) -> int:
        """Edits in a slot of the device."""
        return self.slots.resident


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
