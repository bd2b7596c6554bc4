"""Collisions among the edits of a store: who lies near whom, and whether verification tells them apart.

Shape legend: N keys, R retrieval floats, M verification floats.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sola_scale.keys import Calibration, Keys
from sola_scale.keys.blocks import blocks
from sola_scale.opening import current_calibration
from sola_scale.store import LmdbStore, Store

_BLOCK = 256
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def store_figures(path: Path, *, sample: int = 4000, pairs: int = 50) -> dict[str, Any]:
    """Measure a store from its stored keys alone: no model is loaded, and what a cross-encoder would read again is left to the keys.

    Args:
        path: the store's folder; read only.
        sample: keys whose neighbourhood is looked at; all of them in a smaller store.
        pairs: of the pairs that verification takes for one question, how many are named.
    """
    with LmdbStore.open(path, read_only=True) as store:
        _, calibration = current_calibration(store)
        return measure(store, calibration, sample=sample, pairs=pairs)


def measure(store: Store, calibration: Calibration, *, sample: int = 4000, pairs: int = 50) -> dict[str, Any]:
    """``store_figures`` of an open store."""
    blocks = list(store.active_keys())
    key_ids = np.concatenate([block.key_ids for block in blocks]) if blocks else np.zeros(0, np.uint64)
    if len(key_ids) < 2:
        return {"keys": len(key_ids), "collisions": []}
    owner_N = np.concatenate([block.edit_ids for block in blocks])
    keys_NR = np.concatenate([block.retrieval for block in blocks]).astype(np.float32)
    picked = np.random.default_rng(0).permutation(len(key_ids))[:sample]
    rival, distance = _nearest_rival(keys_NR, owner_N, picked)
    same = calibration.same_question(
        _keys(store, keys_NR, key_ids, picked), _keys(store, keys_NR, key_ids, rival)
    )
    close = [int(row) for row in np.argsort(-same) if same[row] >= calibration.threshold]
    return {
        "keys": len(key_ids),
        "sampled": len(picked),
        "cross_encoder_left_out": calibration.cross is not None,
        "nearest_other_edit": {str(level): float(np.quantile(distance, level)) for level in _QUANTILES},
        "told_apart": float((same < calibration.threshold).mean()),
        "collisions": [
            {
                "edits": [int(owner_N[picked[row]]), int(owner_N[rival[row]])],
                "prompts": [store.record(int(owner_N[place[row]])).prompt for place in (picked, rival)],
                "distance": float(distance[row]),
                "probability": float(same[row]),
            }
            for row in close[:pairs]
        ],
    }


def _nearest_rival(
    keys_NR: NDArray[np.float32], owner_N: NDArray[np.uint64], picked: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest key of another edit, and its distance."""
    squares_N = (keys_NR**2).sum(axis=1)
    rival = np.empty(len(picked), dtype=np.int64)
    for block in blocks(len(picked), _BLOCK):
        rows = picked[block]
        distance_BN = squares_N - 2 * keys_NR[rows] @ keys_NR.T
        distance_BN[owner_N[rows, None] == owner_N] = np.inf
        rival[block] = distance_BN.argmin(axis=1)
    distance: NDArray[np.float32] = np.linalg.norm(keys_NR[picked] - keys_NR[rival], axis=1)
    return rival, distance


def _keys(
    store: Store, keys_NR: NDArray[np.float32], key_ids: NDArray[np.uint64], rows: NDArray[np.int64]
) -> Keys:
    verification, _ = store.verification(key_ids[rows])
    return Keys(retrieval_BR=keys_NR[rows], verification_BM=verification)
