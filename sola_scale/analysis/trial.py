"""A trial: edits in a store, edits that crowd it, and pools of queries with their right answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NOBODY = -1
"""The fact of a query that no edit answers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """Queries of one sort."""

    name: str
    """What they are called in tables."""
    texts: tuple[str, ...]
    """The prompts."""
    facts: Ints
    """The fact each asks for, or ``NOBODY``."""
    wanted: str
    """``right``: the share that fires the right edit is wanted high; ``silent``: the share that fires, low."""
    target: float
    """What the project set out to reach."""

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What is in the store and what it is asked."""

    edits: tuple[str, ...]
    """Prompts of the edits that are asked for; always in the store."""
    facts: Ints
    """The fact each changes: two edits of one fact are both right answers to a question for it."""
    crowd: tuple[str, ...]
    """Prompts of other edits beside them; the first n of them, for a store of that size."""
    crowd_facts: Ints
    """The facts that these change; some are also among the asked ones."""
    pools: tuple[Pool, ...]
    """The queries."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """All edits' prompts: those asked for, then the crowd."""
        return self.edits + self.crowd

    @property
    def prompt_facts(self) -> Ints:
        """The fact of every prompt."""
        return np.concatenate([self.facts, self.crowd_facts])
