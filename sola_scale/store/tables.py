"""The named tables of a store's file."""

from enum import StrEnum


class Table(StrEnum):
    """One LMDB database each; keys are big-endian ids but where said otherwise."""

    META = "meta"
    """Name → manifest, counters, key layout."""
    SETTINGS = "settings"
    """Name → JSON-like value."""
    BLOBS = "blobs"
    """Name → byte string, such as calibrations."""
    RECORDS = "records"
    """Edit → prompt, target, tags and so on; written once."""
    STATES = "states"
    """Edit → status, chain, key ids; small and of one size, so that a change moves nothing."""
    HISTORY = "history"
    """(edit, sequence number) → what happened to it after it was written."""
    CHAINS = "chains"
    """(oldest edit, member) → nothing; only chains of two or more."""
    PROMPTS = "prompts"
    """Block of edits → hashes of their prompts."""
    KEYS = "keys"
    """Active key → edit and row."""
    LOG = "log"
    """Sequence number → what a transaction did."""
    WEIGHTS = "weights"
    """Segments of encoded LoRAs."""
    RETRIEVAL_0 = "retrieval.0"
    """Segments of retrieval rows of even key generations."""
    RETRIEVAL_1 = "retrieval.1"
    """The same of odd ones: a new calibration fills the idle pair, then the generation is switched."""
    VERIFICATION_0 = "verification.0"
    """Segments of verification rows of even key generations."""
    VERIFICATION_1 = "verification.1"
    """The same of odd ones."""


SEGMENTED = (Table.WEIGHTS, Table.RETRIEVAL_0, Table.RETRIEVAL_1, Table.VERIFICATION_0, Table.VERIFICATION_1)
"""Tables whose values are segments."""


def retrieval(generation: int) -> Table:
    """The table of retrieval rows of a key generation."""
    return Table.RETRIEVAL_1 if generation % 2 else Table.RETRIEVAL_0


def verification(generation: int) -> Table:
    """The table of verification rows of a key generation."""
    return Table.VERIFICATION_1 if generation % 2 else Table.VERIFICATION_0
