"""Findings in figures: shares with their confidence intervals, bytes, and the reasons of what failed."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sola_scale.evaluate.examination import Finding

_CONFIDENCE = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of how many."""

    hits: int
    """How many."""
    of: int
    """Of how many."""
    value: float
    """The share; 0 where there was nothing to count."""
    low: float
    """Lower end of its 95 % confidence interval (Wilson, 1927)."""
    high: float
    """Upper end."""

    @classmethod
    def count(cls, hits: int, of: int) -> "Share":
        """Make a share of two counts."""
        if not of:
            return cls(hits=0, of=0, value=0.0, low=0.0, high=1.0)
        value, squared = hits / of, _CONFIDENCE**2
        middle = (value + squared / (2 * of)) / (1 + squared / of)
        spread = value * (1 - value) / of + squared / (4 * of * of)
        reach = _CONFIDENCE * math.sqrt(spread) / (1 + squared / of)
        return cls(hits=hits, of=of, value=value, low=max(0.0, middle - reach), high=min(1.0, middle + reach))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the findings of one data set come to."""

    cases: int
    """Records examined."""
    statuses: dict[str, int]
    """How many came to what."""
    reasons: dict[str, int]
    """Why those failed that failed."""
    reliability: Share
    """Prompts answered with exactly the target and nothing else, of those that needed an edit and were not replaced:
    a failed edit counts as a miss."""
    reworded_says: Share
    """Held-back wordings whose answer begins with the target, the right edit fired."""
    reworded_exact: Share
    """Held-back wordings answered with the target and nothing else."""
    bytes_mean: float
    """Bytes of weights an edit, all of them."""
    bytes_mean_short: float
    """The same without those of the largest size class."""
    size_classes: dict[int, int]
    """Edits by size class."""
    precisions: dict[str, int]
    """Edits by number format."""
    steps_mean: float
    """Training steps an edit."""


def score(findings: Sequence[Finding], *, largest_class: int) -> Scores:
    """Sum findings up; ``largest_class`` is the size class whose edits are not short."""
    held = [one for one in findings if one.status == "held"]
    failed = [one for one in findings if one.status in ("failed", "rejected")]
    short = [one.bytes for one in held if one.size_class < largest_class]
    asked = sum(one.reworded for one in held)
    return Scores(
        cases=len(findings),
        statuses=dict(Counter(one.status for one in findings)),
        reasons=dict(Counter(one.reason or "" for one in failed)),
        reliability=Share.count(sum(one.exact for one in held), len(held) + len(failed)),
        reworded_says=Share.count(sum(one.reworded_says for one in held), asked),
        reworded_exact=Share.count(sum(one.reworded_exact for one in held), asked),
        bytes_mean=_mean([one.bytes for one in held]),
        bytes_mean_short=_mean(short),
        size_classes=dict(sorted(Counter(one.size_class for one in held).items())),
        precisions=dict(Counter(one.precision for one in held)),
        steps_mean=_mean([one.steps for one in held]),
    )


def _mean(values: Sequence[int]) -> float:
    return statistics.fmean(values) if values else 0.0
