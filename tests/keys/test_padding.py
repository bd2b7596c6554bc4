"""A store of fewer keys than candidates are asked for pads the list; the padding must not reach the scores."""

import numpy as np

from sola_scale.keys import Calibration


def test_padding_changes_no_score(calibration: Calibration) -> None:
    """Three candidates score the same alone and followed by five empty places at infinite distance."""
    rng = np.random.default_rng(0)
    query_1M = rng.standard_normal((1, calibration.verification_dim)).astype(np.float16)
    real_kM = rng.standard_normal((3, calibration.verification_dim)).astype(np.float16)
    near_k = np.array([0.4, 1.2, 1.3], np.float32)
    alone = calibration.score(query_1M[0], real_kM, near_k, np.array([1, 2, 3]))
    padded = calibration.score_batch(
        query_1M,
        np.concatenate([real_kM, np.zeros((5, calibration.verification_dim), np.float16)])[None],
        np.concatenate([near_k, np.full(5, np.inf, np.float32)])[None],
        np.arange(8)[None] < 3,
        np.array([[1, 2, 3, 0, 0, 0, 0, 0]]),
    )[0]
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(padded, [*alone, 0, 0, 0, 0, 0], atol=1e-6)
