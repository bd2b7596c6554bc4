"""Where tiers change and how hard they look; the defaults are measured on real keys, see ``docs/key-index.md``."""

import dataclasses

from sola_index.errors import KeyIndexError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """Tuning of an index; the contract holds under any setting."""

    scan_from: int = 4_096
    """Rows from which codes are scanned instead of full keys."""
    lists_from: int = 393_216
    """Rows from which codes lie in lists."""
    growth: float = 6.0
    """Rebuild when the rows have grown to this multiple of those it was trained on."""
    dead_share: float = 0.25
    """Rebuild, and copy the live rows together, when this share of the rows is dead."""
    drift: float = 2.0
    """Rebuild when the mean squared code error of new keys is this multiple of the training sample's."""
    imbalance: float = 8.0
    """Rebuild when the lists' imbalance is this multiple of what it was after training. Queries look at so many codes, not
    at so many lists, so great lists cost no time; they choose less well."""
    least_recall: float = 0.9
    """Rebuild when the self-test, made at every quarter of growth, finds fewer of the exactly nearest keys."""
    tail: int = 64
    """Rows that may wait, searched exactly, until they are encoded together."""
    shallow: int = 40
    """Codes whose keys are measured first."""
    deep: int = 384
    """Codes whose keys are measured, those included, when the nearest of the first is not near; in lists a code may come
    twice among them."""
    further: int = 64
    """Codes of the further lists of a hard query whose keys are measured: far from the query, a key that is near
    stands out."""
    scan_nearness: float = 1.35
    """In the scan tier a query is hard when its nearest key so far is farther than this multiple of the typical error
    of a code."""
    nearness: float = 0.85
    """The same in the lists tier, where an easy query may lose more."""
    farness: float = 1.97
    """A query whose nearest key so far is farther than this multiple looks at ``most_share`` of the codes; between
    the two the share grows with the cube of the distance from ``nearness``."""
    first_share: float = 0.02
    """Share of the codes that every query looks at, list by list; at least eight lists."""
    hard_share: float = 0.08
    """Share of the codes that a hard query looks at, at least."""
    most_share: float = 0.25
    """Share of the codes that the hardest query looks at."""
    first_codes: int = 24_576
    """Codes that every query looks at, at least: among so few, choosing would save less time than it loses keys."""
    hard_codes: int = 131_072
    """Codes that a hard query looks at, at least."""
    sample: int = 81_920
    """Most rows that training looks at."""
    seed: int = 1234
    """Seed of training."""
    device_flat: int = 10_000_000
    """Live keys up to which a GPU compares with all of them; beyond, it searches an IVF clone."""
    device_spare: int = 24
    """Candidates beyond k that are taken from a GPU, whose float16 distances may misplace near ties."""
    device_probes: int = 256
    """Lists of the clone that are looked into."""
    device_stale: float = 0.07
    """Share of rows added or removed since the clone at which it is made again."""
    background: bool = True
    """Rebuild in a thread; otherwise inside the call to ``add`` or ``remove`` that makes it due."""

    def __post_init__(self) -> None:
        if not 256 <= self.scan_from <= self.lists_from:
            raise KeyIndexError("scan_from must be at least 256 and not above lists_from")
        if self.growth <= 1 or self.drift <= 1 or self.imbalance <= 1:
            raise KeyIndexError("growth, drift and imbalance are multiples above one")
        if not 0 < self.dead_share < 1 or not 0 <= self.least_recall <= 1:
            raise KeyIndexError("dead_share must lie between zero and one, and least_recall too")
        if (
            not 0 < self.first_share <= self.hard_share <= 1
            or not 0 < self.most_share <= 1
            or not 0 <= self.nearness < self.farness
            or self.scan_nearness < 0
        ):
            raise KeyIndexError(
                "first_share, hard_share and most_share are shares, the second not below the first, and farness is above "
                "nearness, none negative"
            )
        if min(self.tail, self.shallow, self.further, self.first_codes, self.hard_codes) < 1 or (
            self.deep < self.shallow
        ):
            raise KeyIndexError(
                "tail, shallow, further, first_codes and hard_codes must be at least one, and deep at least shallow"
            )
        if min(self.device_flat, self.device_spare, self.device_probes) < 1 or not 0 < self.device_stale < 1:
            raise KeyIndexError(
                "device_flat, device_spare and device_probes must be at least one, device_stale a share"
            )
        if self.sample < self.scan_from:
            raise KeyIndexError("sample must be at least scan_from")
