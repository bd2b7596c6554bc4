"""A latency histogram of fixed size: counts in buckets that grow by powers of two."""

import threading
from dataclasses import dataclass

_FIRST_MICROSECONDS = 8.0
_BUCKETS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """A snapshot of a histogram."""

    count: int
    """Samples."""
    total_seconds: float
    """Their sum."""
    upper_microseconds: tuple[float, ...]
    """Upper edge of each bucket; the last one also holds what is beyond."""
    counts: tuple[int, ...]
    """Samples in each bucket."""

    def quantile(self, share: float) -> float:
        """Upper edge, in microseconds, of the bucket in which the given share of the samples is reached; 0 if empty."""
        reached, wanted = 0, share * self.count
        for upper, count in zip(self.upper_microseconds, self.counts, strict=True):
            reached += count
            if count and reached >= wanted:
                return upper
        return 0.0


class Histogram:
    """Counts durations; safe from any thread, and never grows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * _BUCKETS
        self._total = 0.0

    def add(self, seconds: float, samples: int = 1) -> None:
        """Count ``samples`` durations of ``seconds`` each."""
        bucket = max(0, int(seconds * 1e6 / _FIRST_MICROSECONDS)).bit_length()
        with self._lock:
            self._counts[min(bucket, _BUCKETS - 1)] += samples
            self._total += seconds * samples

    def snapshot(self) -> Latencies:
        """Return the counts so far."""
        with self._lock:
            return Latencies(
                count=sum(self._counts),
                total_seconds=self._total,
                upper_microseconds=tuple(_FIRST_MICROSECONDS * 2**bucket for bucket in range(_BUCKETS)),
                counts=tuple(self._counts),
            )
