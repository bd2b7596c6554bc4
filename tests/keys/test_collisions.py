"""Collisions at write time."""

import dataclasses

import numpy as np
import pytest

from sola_scale.keys.collisions import examine, fires_earlier, told_apart
from sola_scale.keys.cross_encoder import Blend
from tests.keys.crossed import cross_of


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


def test_a_cross_encoder_is_heard_both_ways(calibration, backbone, views):
    """What a cross-encoder says of two prompts counts, though either prompt's own edit is sure to fire beside the other."""
    cross = cross_of(backbone, doubt=(-99.0, 99.0), blend=Blend(0, 0, 50))
    doubting = dataclasses.replace(calibration, cross=cross).on(backbone)
    left, right = calibration.keys(views[:20]), calibration.keys(views[40:60])
    assert examine(calibration, left, right).parted_B.any()
    assert not examine(doubting, left, right).parted_B.any()


def test_edits_are_told_apart_by_all_their_wordings(calibration, views, rows):
    """Edits of two questions can lie side by side; not so if one wording of one asks what a wording of the other asks."""
    first, second = (
        _keys(calibration, views, rows, [f"7 {relation} 0", f"7 {relation} 1"]) for relation in (1, 3)
    )
    mixed = _keys(calibration, views, rows, ["7 3 0", "7 1 1"])
    assert told_apart(calibration, first, second)
    assert not told_apart(calibration, first, mixed)
    assert not told_apart(calibration, first, first)


def test_prompts_wait_for_what_they_would_fire(calibration, views, rows):
    """Of prompts written at once those wait that fire a wording of one before them, and only those: order decides."""
    texts = ["7 1 0", "9 4 0", "7 1 1", "9 4 0", "11 2 0"]

    def waits(order, given):
        assert [own[0] for own in given] == [texts[place] for place in order]
        wordings = _keys(calibration, views, rows, [text for own in given for text in own])
        owner_N = np.repeat(np.arange(len(given)), [len(own) for own in given])
        return fires_earlier(calibration, wordings, owner_N).tolist()

    assert waits(range(5), [[text] for text in texts]) == [False, False, True, True, False]
    assert waits([2, 0, 4], [["7 1 1"], ["7 1 0"], ["11 2 0"]]) == [False, True, False]
    assert waits([4, 0], [["11 2 0", "7 1 1"], ["7 1 0"]]) == [False, True]
    assert waits([4], [["11 2 0"]]) == [False]
