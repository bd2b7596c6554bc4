"""Lexicons: which words of two prompts are the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sola_scale.backbone.views import DIGIT, TOKENS, token_row
from sola_scale.keys.lexicon import FEATURES, SWAPPED, Lexicon, fit_lexicon, read_tokens

WIDTH = 2 * TOKENS
SPELLINGS = ["the", "\u0120the", "The", "\u2581Paris", "\u0120Rome", "of", "capital", "9", "\u0120"]


def rows_of(*prompts: list[int]) -> np.ndarray:
    """Views of prompts given as tokens, padded on the left."""
    width = max(map(len, prompts))
    ids_BT = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask_BT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return token_row(ids_BT, mask_BT, WIDTH).numpy().astype(np.float16)


@pytest.fixture
def lexicon() -> Lexicon:
    return fit_lexicon(rows_of([0, 3], [1, 4], [2, 5, 6], [0, 7]), SPELLINGS, view=0)


@given(st.lists(st.integers(0, DIGIT * DIGIT - 1), min_size=1, max_size=40))
def test_tokens_survive_half_precision(prompt):
    """The last tokens of a prompt, up to a million of a vocabulary, are read back from float16 exactly."""
    read = read_tokens(rows_of(prompt))[0]
    kept = prompt[::-1][:TOKENS]
    assert read.tolist() == kept + [-1] * (TOKENS - len(kept))


def test_padding_is_not_read():
    """The same prompt gives the same row whatever stands beside it."""
    alone, beside = rows_of([5, 6]), rows_of([5, 6], [1, 2, 3, 4])
    np.testing.assert_array_equal(alone[0], beside[0])


def test_a_prompt_of_embeddings_has_no_tokens():
    """Where the tokens are not known, the row is empty."""
    assert not token_row(None, torch.ones(2, 3), WIDTH).any()


def test_spellings_of_one_word_are_one(lexicon):
    """Capitals and the space before a word make no other word; what is nothing but a space keeps its own number."""
    assert len({int(lexicon.word_N[token]) for token in (0, 1, 2)}) == 1
    assert len(set(lexicon.word_N[2:].tolist())) == len(SPELLINGS) - 2


def test_rare_words_weigh_more(lexicon):
    """A word in every text weighs nothing, one in no text the most."""
    assert lexicon.weight_N[0] == lexicon.weight_N[1] < lexicon.weight_N[3] < lexicon.weight_N[8]
    assert lexicon.weight_N[0] == 0


def test_equal_prompts_cover_each_other(lexicon):
    """All likenesses of a prompt with itself are 1, and with strangers they are less."""
    same, other = rows_of([0, 3, 6]), rows_of([0, 4, 6])
    np.testing.assert_allclose(lexicon.likeness(same, same), np.ones((1, FEATURES)), atol=1e-6)
    assert (lexicon.likeness(same, other) < 1).all()


def test_what_one_prompt_adds_counts_on_its_side_alone(lexicon):
    """A longer prompt covers the shorter one wholly, not the other way round; swapping the two swaps the sides."""
    short, long = rows_of([0, 3]), rows_of([0, 3, 6, 7])
    forward, back = lexicon.likeness(short, long)[0], lexicon.likeness(long, short)[0]
    np.testing.assert_allclose(forward[[0, 2, 4]], 1)
    assert (forward[[1, 3, 5]] < 1).all()
    np.testing.assert_array_equal(back, forward[list(SWAPPED)])


def test_unknown_tokens_are_as_good_as_absent(lexicon):
    """A token beyond the vocabulary neither matches nor weighs."""
    known, more = rows_of([0, 3]), rows_of([0, 3, 4000])
    np.testing.assert_array_equal(lexicon.likeness(known, more), lexicon.likeness(known, known))


def test_the_probability_is_symmetric_with_words(calibration, views):
    """Whether two prompts ask one question does not depend on which of them comes first."""
    left, right = calibration.keys(views[:40]), calibration.keys(views[40:80])
    np.testing.assert_allclose(
        calibration.same_question(left, right), calibration.same_question(right, left), atol=1e-6
    )
