"""A calibration without verification heads gives verification vectors of no numbers; the store keeps them."""

from pathlib import Path

import numpy as np

from sola_scale.store import EditStatus, KeyRows, LmdbStore, NewEdit, StoreManifest


def test_an_edit_without_verification_comes_back(tmp_path: Path) -> None:
    """Vectors of width zero are stored, survive revoke and restore, and pass the audit."""
    keys = KeyRows(retrieval=np.ones((2, 8), np.float16), verification=np.ones((2, 0), np.float16))
    with LmdbStore.create(tmp_path / "s", StoreManifest(model_name="m", fingerprint={"model": "a"})) as store:
        store.write([NewEdit(prompt="p", target="t", keys=keys, weights=b"w", calibration=1)])
        store.revoke([1])
        store.restore([1])
        assert store.record(1).status is EditStatus.LIVE
        assert store.keys(1).verification.shape == (2, 0)
        assert store.verify().ok
