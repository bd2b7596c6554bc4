"""Every error the index can raise, under one base class."""


class KeyIndexError(Exception):
    """Base of all errors of this library; its text says what went wrong and what to do."""


class InvalidKeyError(KeyIndexError, ValueError):
    """Keys or queries of the wrong width or dtype, not finite, too large, or not of unit length under cosine."""


class InvalidIdError(KeyIndexError, ValueError):
    """Ids that are repeated, not increasing, used before, of the wrong dtype, or equal to the filler."""


class UnknownIdError(KeyIndexError, KeyError):
    """An id that is not in the index: never added, or removed already."""

    def __str__(self) -> str:
        """Return the message itself: KeyError would show its repr."""
        return str(self.args[0]) if self.args else "unknown id"


class ClosedIndexError(KeyIndexError):
    """The index was used after ``close``."""


class SnapshotError(KeyIndexError):
    """A snapshot is missing, damaged, incomplete or of another version; rebuild the index from its keys."""


class DeviceError(KeyIndexError):
    """The GPU tier was asked for where faiss sees no device."""


class BackendError(KeyIndexError):
    """faiss is missing, or two builds of it that exclude each other are installed; the text has the fix."""
