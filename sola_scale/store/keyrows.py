"""Key rows to and from their stored bytes, and the one layout all keys of a store share."""

import numpy as np
from numpy.typing import NDArray

from sola_scale.errors import CalibrationError, CorruptRecordError
from sola_scale.store.bookkeeping import KeyLayout, RowType
from sola_scale.store.records import KeyRows
from sola_scale.store.tables import retrieval, verification
from sola_scale.store.transaction import ReadTransaction


def layout_of(keys: KeyRows, calibration: int) -> KeyLayout:
    """The layout that keys have."""
    row_type = RowType.FLOAT32 if keys.retrieval.dtype == np.float32 else RowType.FLOAT16
    return KeyLayout(calibration, row_type, keys.retrieval.shape[1], keys.verification.shape[1])


def check_layout(asked: KeyLayout, layout: KeyLayout) -> None:
    """Refuse keys that do not fit those already stored.

    Raises:
        CalibrationError: Of another calibration, number type or width.
    """
    if asked.calibration != layout.calibration:
        raise CalibrationError(
            f"keys made by calibration {asked.calibration} cannot join a store whose keys are of calibration "
            f"{layout.calibration}: recompute them, or recalibrate the store"
        )
    if asked != layout:
        raise CalibrationError(f"keys of layout {asked} cannot join a store whose keys are {layout}")


def row_bytes(layout: KeyLayout) -> tuple[int, int]:
    """Bytes of a retrieval row and of a verification row."""
    return layout.row_type.dtype.itemsize * layout.retrieval_width, 2 * layout.verification_width


def to_retrieval(payload: memoryview, layout: KeyLayout, edit_id: int) -> NDArray[np.floating]:
    """Stored retrieval rows as an array, a view; raises CorruptRecordError where the length is impossible."""
    return _rows(payload, layout.row_type.dtype, layout.retrieval_width, edit_id)


def to_verification(payload: memoryview, layout: KeyLayout, edit_id: int) -> NDArray[np.float16]:
    """Stored verification rows as an array, a view."""
    return _rows(payload, np.dtype(np.float16), layout.verification_width, edit_id)


def _rows(payload: memoryview, dtype: np.dtype, width: int, edit_id: int) -> NDArray[np.floating]:
    if not width and not len(payload):
        return np.empty(
            (0, 0), dtype=dtype
        )  # rows of no numbers: how many there are, the retrieval rows know
    if not len(payload) or not width or len(payload) % (dtype.itemsize * width):
        raise CorruptRecordError(f"the keys of edit {edit_id} are not rows of {width} numbers", edit_id)
    return np.frombuffer(payload, dtype=dtype).reshape(-1, width)


def read_retrieval(
    txn: ReadTransaction, layout: KeyLayout, generation: int, edit_id: int
) -> NDArray[np.floating]:
    """A copy of an edit's retrieval rows."""
    payload = txn.segment_reader(retrieval(generation))(edit_id)
    return to_retrieval(payload, layout, edit_id).copy()


def read_keys(txn: ReadTransaction, layout: KeyLayout, generation: int, edit_id: int) -> KeyRows:
    """Copies of an edit's key rows."""
    payload = txn.segment_reader(verification(generation))(edit_id)
    rows = to_verification(payload, layout, edit_id).copy()
    return KeyRows(read_retrieval(txn, layout, generation, edit_id), rows)
