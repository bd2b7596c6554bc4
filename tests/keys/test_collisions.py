"""Collisions at write time."""

import numpy as np
import pytest

from sola_scale.keys.collisions import examine


@pytest.fixture(scope="module")
def rows(corpus):
    return {text: row for row, text in enumerate(corpus.texts)}


def _keys(calibration, views, rows, texts):
    return calibration.keys(views[[rows[text] for text in texts]])


def test_paraphrases_collide_as_one_question(calibration, views, rows):
    """A new edit whose prompt paraphrases an old one is seen to ask the same question."""
    olds = [
        f"{subject} {1 - subject % 3 % 2} 0"
        for subject in range(3, 30)
        if f"{subject} {1 - subject % 3 % 2} 0" in rows
    ]
    found = examine(
        calibration,
        _keys(calibration, views, rows, [text[:-1] + "1" for text in olds]),
        _keys(calibration, views, rows, olds),
    )
    assert found.same_B.mean() > 0.8


def test_neighbours_are_parted_both_ways(calibration, views, rows):
    """Two questions about one subject may lie side by side: neither prompt fires the other's edit."""
    pairs = [
        (f"{subject} {relation} 0", f"{subject} {relation + 1} 0")
        for subject in range(30)
        for relation in range(7)
        if f"{subject} {relation} 0" in rows and f"{subject} {relation + 1} 0" in rows
    ]
    left, right = zip(*pairs, strict=True)
    found = examine(
        calibration, _keys(calibration, views, rows, left), _keys(calibration, views, rows, right)
    )
    assert not found.same_B.any()
    assert found.parted_B.mean() > 0.95


def test_a_prompt_does_not_part_from_itself(calibration, views):
    """The same prompt written twice is one question, and the two edits cannot coexist."""
    keys = calibration.keys(views[:5])
    found = examine(calibration, keys, keys)
    np.testing.assert_array_equal(found.same_question_B, 1)
    assert not found.parted_B.any()
