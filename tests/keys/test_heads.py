"""Heads: whitening, projection, unit length."""

import numpy as np

from sola_scale.keys.heads import Head, fit_head


def _noisy_classes(rng, classes=200, dim=20):
    centres = rng.normal(size=(classes, dim))
    groups = np.repeat(np.arange(classes), 3)
    loud = np.zeros(dim)
    loud[0] = 30.0
    return (centres[groups] + rng.normal(size=(len(groups), 1)) * loud).astype(np.float32), groups


def test_rows_have_unit_length():
    """A head gives rows of length one whatever the scale of its input."""
    rng = np.random.default_rng(0)
    hidden, groups = _noisy_classes(rng)
    head = fit_head(hidden * 1000, groups, view=0, dim=8)
    np.testing.assert_allclose(np.linalg.norm(head(hidden[:, None] * 1000), axis=1), 1, atol=1e-5)


def test_noise_inside_groups_is_whitened_away():
    """After fitting, a row is nearer to its own group than raw cosine has it: the loud direction no longer counts."""
    hidden, groups = _noisy_classes(np.random.default_rng(0))
    head = fit_head(hidden[:300], groups[:300], view=0, dim=12)

    def share_right(rows):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosine = unit @ unit.T - 9 * np.eye(len(rows))
        return (groups[300:][cosine.argmax(axis=1)] == groups[300:]).mean()

    assert share_right(hidden[300:]) < 0.5
    assert share_right(head(hidden[300:, None])) > 0.9


def test_dim_is_capped_by_the_width():
    """Asking for more directions than the view has gives all there are."""
    hidden, groups = _noisy_classes(np.random.default_rng(1), dim=10)
    assert fit_head(hidden, groups, view=0, dim=64).dim == 10


def test_a_head_without_unit_gives_raw_rows():
    """With ``unit`` off the projection is returned as it is."""
    head = Head(view=1, centre_D=np.ones(3, np.float32), matrix_DK=np.eye(3, dtype=np.float32), unit=False)
    views = np.stack([np.zeros((2, 3)), np.full((2, 3), 5.0)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(head(views), np.full((2, 3), 4.0))


def test_a_row_at_the_centre_stays_finite():
    """The centre itself, which has no direction, becomes zeros and not NaN."""
    hidden, groups = _noisy_classes(np.random.default_rng(2))
    head = fit_head(hidden, groups, view=0, dim=4)
    assert np.isfinite(head(head.centre_D[None, None])).all()
