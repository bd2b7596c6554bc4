"""Limits on what a store takes, so that no damaged or hostile size is believed."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import RequestError
from sola_scale.store.records import KeyRows, NewEdit

MAX_TEXT = 1 << 20
"""Bytes of one prompt, target or paraphrase."""
MAX_RECORD = 1 << 24
"""Bytes of one encoded record."""
MAX_WEIGHTS = 1 << 26
"""Bytes of one edit's weights; a segment full of them just stays below 4 GiB, as its offsets are 32-bit."""
MAX_ROWS = 1024
"""Keys of one edit."""
MAX_WIDTH = 1 << 14
"""Numbers in one key vector."""
MAX_NAME = 256
"""Bytes of a blob's or setting's name; LMDB keys end at 511."""
MAX_BLOB = 1 << 31
"""Bytes of one blob."""

_BYTES_A_CHARACTER = 4
_DETAILS = {float, int, str}
_FLOAT16 = np.dtype(np.float16)
_ROW_TYPES = (_FLOAT16, np.dtype(np.float32))


def check_edits(edits: Sequence[NewEdit]) -> list[NewEdit]:
    """Refuse a batch with an edit that could not be stored; `check_finite` comes on top.

    Returns:
        One edit of each form that keys have in the batch.

    Raises:
        RequestError: As `check_edit`; the text names the edit's place in the batch.
    """
    forms = {_form(edit): edit for edit in edits}
    if _plain(edits, forms.values()):
        return list(forms.values())
    for number, edit in enumerate(edits):
        try:
            check_edit(edit)
        except RequestError as error:
            raise RequestError(f"edit {number} of the batch: {error}") from error
    return list(forms.values())


def _plain(edits: Sequence[NewEdit], forms: Iterable[NewEdit]) -> bool:
    """Whether a look at all edits together finds nothing to refuse: a look at each takes five times as long."""
    texts = [t for e in edits for t in (e.prompt, e.target, *e.paraphrases, *e.tags, e.source or "")]
    weights = [len(edit.weights) for edit in edits]
    details = {type(value) for edit in edits if edit.details for value in edit.details.values()}
    try:
        for edit in forms:
            check_keys(edit.keys)
        "".join(texts).encode()
    except (RequestError, UnicodeEncodeError):
        return False
    return (
        all(edit.prompt and edit.target for edit in edits)
        and _BYTES_A_CHARACTER * max(map(len, texts)) <= MAX_TEXT
        and min(weights) > 0
        and max(weights) <= MAX_WEIGHTS
        and details <= _DETAILS
    )


def _form(edit: NewEdit) -> tuple[object, ...]:
    """All of an edit's keys but their numbers: alike for nearly all edits, so that one stands for many."""
    retrieval, verification = edit.keys.retrieval, edit.keys.verification
    return retrieval.dtype, verification.dtype, retrieval.shape, verification.shape, edit.calibration


def check_edit(edit: NewEdit) -> None:
    """Refuse an edit that could not be stored.

    Raises:
        RequestError: Empty or oversized text, no weights, malformed keys.
    """
    if not edit.prompt or not edit.target:
        raise RequestError("an edit needs a prompt and a target, both not empty")
    for text in (edit.prompt, edit.target, *edit.paraphrases, *edit.tags, edit.source or ""):
        check_text(text)
    if not 0 < len(edit.weights) <= MAX_WEIGHTS:
        raise RequestError(f"weights take {len(edit.weights):,} bytes, allowed are 1 to {MAX_WEIGHTS:,}")
    for value in (edit.details or {}).values():
        if not isinstance(value, (float, int, str)):
            raise RequestError(f"details must be numbers or strings, not {type(value).__name__}")
    check_keys(edit.keys)


def check_text(text: str) -> None:
    """Refuse text that UTF-8 cannot hold or that is longer than `MAX_TEXT`."""
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise RequestError(
            f"text holds a lone surrogate, which UTF-8 cannot encode: {text[:80]!a}"
        ) from error
    if size > MAX_TEXT:
        raise RequestError(f"text of {size:,} bytes starting {text[:40]!r}; the limit is {MAX_TEXT:,}")


def check_keys(keys: KeyRows) -> None:
    """Refuse key rows of wrong shape or type."""
    retrieval, verification = keys.retrieval, keys.verification
    if retrieval.dtype not in _ROW_TYPES or verification.dtype != _FLOAT16:
        raise RequestError(
            f"keys must be float16 or float32 and float16, not {retrieval.dtype}, {verification.dtype}"
        )
    if retrieval.ndim != 2 or verification.ndim != 2 or len(retrieval) != len(verification):
        raise RequestError(f"keys must be [n, width] both, not {retrieval.shape} and {verification.shape}")
    if not 0 < len(retrieval) <= MAX_ROWS:
        raise RequestError(f"an edit has 1 to {MAX_ROWS} keys, not {len(retrieval)}")
    # Verification rows of no numbers are those of a calibration that decides by retrieval alone.
    if not 0 < retrieval.shape[1] <= MAX_WIDTH or verification.shape[1] > MAX_WIDTH:
        raise RequestError(
            f"key widths {retrieval.shape[1]}, {verification.shape[1]} are not within {MAX_WIDTH}"
        )


def check_finite(keys: Sequence[KeyRows]) -> None:
    """Refuse NaN and infinity in keys of one layout, all in one look, as a look at a single row costs as much."""
    if not all(
        _finite(np.concatenate(rows))
        for rows in zip(*((k.retrieval, k.verification) for k in keys), strict=True)
    ):
        number = next(n for n, k in enumerate(keys) if not (_finite(k.retrieval) and _finite(k.verification)))
        raise RequestError(f"the keys of number {number} hold NaN or infinity")


def _finite(rows: NDArray[np.floating]) -> bool:
    """Whether every number is finite; read from the exponent bits, as float16 arithmetic is slow on CPUs."""
    if rows.dtype != np.float16:
        return bool(np.isfinite(rows).all())
    return not bool(((rows.view(np.uint16) & 0x7C00) == 0x7C00).any())


def check_name(name: str) -> bytes:
    """The name of a blob or setting as its key; refuses empty and oversized ones."""
    check_text(name)
    encoded = name.encode()
    if not 0 < len(encoded) <= MAX_NAME:
        raise RequestError(f"a name takes 1 to {MAX_NAME} bytes, not {len(encoded)}")
    return encoded
