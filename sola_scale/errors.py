"""Every error a user of sola-scale can meet, under one base class."""


class SolaError(Exception):
    """Base of all errors raised by sola-scale; its text says what went wrong and what to do."""


class RequestError(SolaError):
    """An edit request is malformed: empty prompt, empty target, bad JSON, too long for the model."""


class ModelError(SolaError):
    """The base model cannot be loaded, or is of an architecture that no adapter point describes."""


class StoreError(SolaError):
    """Base of everything that can be wrong with a store on disk."""


class StoreNotFoundError(StoreError):
    """There is no store at the given path."""


class StoreExistsError(StoreError):
    """A store was to be created where one exists already."""


class StoreLockedError(StoreError):
    """Another process holds the store for writing; the text says which."""


class StoreReadOnlyError(StoreError):
    """A write was asked of a store that is open for reading only, or lies in a read-only folder."""


class StoreFullError(StoreError):
    """The disk or the map is full; nothing was written and what was there is untouched."""


class StoreClosedError(StoreError):
    """The store was used after it was closed, or by a forked child."""


class FormatVersionError(StoreError):
    """The store was written by a format this version does not know."""


class FingerprintMismatchError(StoreError):
    """The store belongs to another base model, tokenizer or adapter layout."""


class CorruptRecordError(StoreError):
    """A stored value fails its checksum; the text names the edit and the table, `edit_id` the edit if one."""

    def __init__(self, message: str, edit_id: int | None = None) -> None:
        super().__init__(message)
        self.edit_id = edit_id


class LogTruncatedError(StoreError):
    """The change log no longer reaches back so far; whoever follows it starts afresh from the store."""


class UnknownEditError(SolaError, KeyError):
    """No edit has this id."""

    def __str__(self) -> str:
        """Return the message itself: KeyError would show its repr."""
        return str(self.args[0]) if self.args else "unknown edit"


class EditStateError(SolaError):
    """The edit's state forbids what was asked, such as restoring a purged edit."""


class CalibrationError(SolaError):
    """A calibration cannot be fitted from the given pairs, or does not fit the store's views."""


class TrainingError(SolaError):
    """Training cannot start: unknown layer names, an empty layout, an impossible budget."""


class DependencyError(SolaError):
    """A needed package is missing, or two that exclude each other are installed; the text has the fix."""
