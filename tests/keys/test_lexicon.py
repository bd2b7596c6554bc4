"""Lexicons: which words of two prompts are the same."""

import numpy as np
import pytest
import torch

from sola_scale.backbone.reading import DIGITS, WORDS, Reading
from sola_scale.backbone.spelling import Spelling
from sola_scale.keys.lexicon import FEATURES, Lexicon, Words, fit_lexicon

WIDTH = DIGITS * WORDS
SIDE = FEATURES // 2 - 1
"""Features of one of the prompts."""
NAMES, OTHERS = (0, 1, 2, 7, 8, 11), (3, 4, 5, 9, 10)
"""Places of those of its names, and of its other words."""
TEXTS = ["the", "capital", "of", "Paris", "Rome", "city", "capitals", "Parids"]
SPELLING = Spelling([f" {text}" for text in TEXTS])


def rows_of(*prompts: str) -> np.ndarray:
    """Views of prompts, padded on the left."""
    tokens = [[TEXTS.index(text) for text in prompt.split()] for prompt in prompts]
    width = max(map(len, tokens))
    ids_BT = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in tokens])
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in tokens])
    return Reading(SPELLING, ids_BT, mask_BT).word_rows(WIDTH).numpy().astype(np.float16)


@pytest.fixture
def lexicon() -> Lexicon:
    return fit_lexicon(
        rows_of("the Paris", "the Rome", "the capital", "the city of", "the Rome"),
        np.array([0, 1, 2, 3, 1]),
        view=0,
    )


def read(lexicon: Lexicon, prompt: str) -> Words:
    """The words of one prompt."""
    return lexicon.read(rows_of(prompt))


def likeness(lexicon: Lexicon, left: str, right: str) -> np.ndarray:
    """The features of two prompts."""
    return lexicon.likeness(read(lexicon, left), read(lexicon, right))[0]


def test_rare_words_weigh_more(lexicon):
    """A word in every text weighs nothing, one in one text more, one in no text the most."""
    known = read(lexicon, "the Paris capitals").weight[0]
    assert known[2] == 0 < known[1] < known[0] == np.float32(lexicon.unknown)


def test_names_are_told_from_other_words(lexicon):
    """The sign of a word's first digit says whether it belongs to a name."""
    assert read(lexicon, "the Paris city").name[0].tolist() == [False, True, False]


def test_equal_prompts_cover_each_other(lexicon):
    """All likenesses of a prompt with itself are 1."""
    same = likeness(lexicon, "the capital of Paris", "the capital of Paris")
    np.testing.assert_allclose(same, np.ones(FEATURES), atol=1e-6)


def test_another_name_lowers_the_likeness_of_names_alone(lexicon):
    """Prompts that differ in a name are alike in their other words, and the other way round."""
    name = likeness(lexicon, "the capital of Paris", "the capital of Rome")
    frame = likeness(lexicon, "the capital of Paris", "the city of Paris")
    of_names, of_others = ([*places, *(SIDE + place for place in places)] for places in (NAMES, OTHERS))
    assert (name[[*of_names, -2]] < 1).all()
    np.testing.assert_allclose(name[[*of_others, -1]], 1, atol=1e-6)
    assert (frame[[*of_others, -1]] < 1).all()
    np.testing.assert_allclose(frame[[*of_names, -2]], 1, atol=1e-6)


def test_a_plural_covers_its_singular_half(lexicon):
    """A word that is nearly another one covers half of it, and by their letters nearly all."""
    nearly, other = likeness(lexicon, "capital", "capitals"), likeness(lexicon, "capital", "city")
    assert other[3] < nearly[3] == pytest.approx(0.5)
    assert other[9] < 0.5 < nearly[9] < 1


def test_a_misspelt_name_is_like_the_name(lexicon):
    """What the worst covered name has in common with another one tells a slip from another name."""
    slip, other = likeness(lexicon, "of Paris", "of Parids"), likeness(lexicon, "of Paris", "of Rome")
    assert other[11] < 0.2
    assert 0.6 < slip[11] < 1


def test_a_name_weighs_by_its_bearers_not_by_its_texts(lexicon):
    """Rome, in two texts about one subject, weighs what Paris does, in one."""
    weight = read(lexicon, "Paris Rome").weight[0]
    assert weight[0] == weight[1]


def test_what_one_prompt_adds_counts_on_its_side_alone(lexicon):
    """A longer prompt covers the shorter one wholly, not the other way round; swapping the two swaps the sides."""
    forward = likeness(lexicon, "the Paris", "the Paris of Rome capital")
    back = likeness(lexicon, "the Paris of Rome capital", "the Paris")
    np.testing.assert_allclose(forward[:SIDE], 1)
    assert (forward[SIDE:-2] < 1).all()
    np.testing.assert_array_equal(back, forward[[*range(SIDE, 2 * SIDE), *range(SIDE), -2, -1]])


def test_batches_broadcast(lexicon):
    """Prompts compared all with all give what they give two by two, however long the others are."""
    prompts = ["the Paris", "the capital of Rome", "city"]
    words = lexicon.read(rows_of(*prompts))
    table = lexicon.likeness(words.at(slice(None), None), words.at(None))
    for left, one in enumerate(prompts):
        for right, other in enumerate(prompts):
            np.testing.assert_allclose(table[left, right], likeness(lexicon, one, other), atol=1e-6)


def test_prompts_without_words_are_compared(lexicon):
    """A prompt given as embeddings has no words: its features are finite."""
    empty = lexicon.read(np.zeros((1, WIDTH), np.float16))
    assert np.isfinite(lexicon.likeness(empty, read(lexicon, "the Paris"))).all()


def test_a_lexicon_of_no_texts_weighs_nothing():
    """Fitted on prompts without words, it knows none and weighs every word alike."""
    lexicon = fit_lexicon(np.zeros((3, WIDTH), np.float16), np.arange(3), view=0)
    assert len(lexicon.word_N) == 0
    assert read(lexicon, "the Paris").weight.tolist() == [[np.float32(lexicon.unknown)] * 2]


def test_the_probability_is_symmetric_with_words(calibration, views):
    """Whether two prompts ask one question does not depend on which of them comes first."""
    left, right = calibration.keys(views[:40]), calibration.keys(views[40:80])
    np.testing.assert_allclose(
        calibration.same_question(left, right), calibration.same_question(right, left), atol=1e-6
    )
