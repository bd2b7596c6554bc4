"""Views to the key rows that a store keeps.

Shape legend: K keys of one edit, V views, D residual width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sola_scale.keys import Calibration
from sola_scale.store import KeyRows


def key_rows(calibration: Calibration, views_KVD: Sequence[Any]) -> KeyRows:
    """Turn the views of an edit's prompts into its keys, in the number formats they are stored in."""
    keys = calibration.keys(np.stack([np.asarray(one, dtype=np.float32) for one in views_KVD]))
    # Raw keys, as SoLA's own, can lie beyond the range of float16; unit ones lose nothing that matters.
    width = np.float16 if calibration.retrieval.unit else np.float32
    return KeyRows(retrieval=keys.retrieval_BR.astype(width), verification=keys.verification_BM)
