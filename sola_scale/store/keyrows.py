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


def read_retrieval(
    txn: ReadTransaction, layout: KeyLayout, generation: int, edit_id: int
) -> NDArray[np.floating]:
    """A copy of an edit's retrieval rows; raises CorruptRecordError where they are damaged."""
    payload = txn.segment_reader(retrieval(generation))(edit_id)
    width, _ = row_bytes(layout)
    if not len(payload) or len(payload) % width:
        raise CorruptRecordError(f"the keys of edit {edit_id} are not rows of {width} bytes", edit_id)
    return np.frombuffer(payload, dtype=layout.row_type.dtype).reshape(-1, layout.retrieval_width).copy()


def read_keys(txn: ReadTransaction, layout: KeyLayout, generation: int, edit_id: int) -> KeyRows:
    """Copies of an edit's key rows; raises CorruptRecordError where they are damaged."""
    rows = read_retrieval(txn, layout, generation, edit_id)
    payload = txn.segment_reader(verification(generation))(edit_id)
    _, width = row_bytes(layout)
    if len(payload) != len(rows) * width:
        raise CorruptRecordError(f"edit {edit_id} has not as many keys to verify as to retrieve", edit_id)
    # How many rows of no numbers there are, the retrieval rows know.
    found = np.frombuffer(payload, dtype=np.float16).reshape(len(rows), layout.verification_width)
    return KeyRows(rows, found.copy())
