"""Readings: the words of a batch of prompts as rows of numbers, and the weights of their frames."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sola_scale.backbone.reading import DIGIT, DIGITS, TOKENS, WORDS, Reading
from sola_scale.backbone.spelling import Spelling
from sola_scale.backbone.views import pool
from sola_scale.keys.alignment import spelled

SPELLING = Spelling(
    ["\u0120who", "\u0120was", "\u0120Curie", "\u0120", "1", "9", "?", *(f"\u0120word{n}" for n in "abcdef")]
)
WIDTH = DIGITS * WORDS


def batch(*prompts: list[int], left: bool = True) -> Reading:
    """A reading of prompts given as tokens, padded on one side."""
    width = max(map(len, prompts))
    pads = [[0] * (width - len(prompt)) for prompt in prompts]
    rows = zip(prompts, pads, strict=True)
    ids = [(pad + prompt, [0] * len(pad) + [1] * len(prompt)) for prompt, pad in rows]
    if not left:
        ids = [
            (row[len(pad) :] + pad, mask[len(pad) :] + pad)
            for (row, mask), pad in zip(ids, pads, strict=True)
        ]
    return Reading(SPELLING, torch.tensor([row for row, _ in ids]), torch.tensor([mask for _, mask in ids]))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
def test_words_survive_half_precision(prompt):
    """The last words that ask are read back from float16 exactly, the very last one first."""
    row = (
        batch(prompt)
        .word_rows(WIDTH)
        .numpy()
        .astype(np.float16)
        .astype(np.int64)
        .reshape(WORDS, DIGITS)[0:WORDS]
    )
    words = list(SPELLING.words(prompt[SPELLING.asks_from(prompt) :]))[::-1][:WORDS]
    assert [(abs(high) - 1) * DIGIT + low for high, low, *_ in row[: len(words)]] == [
        word.number % DIGIT**2 for word in words
    ]
    assert [high < 0 for high, *_ in row[: len(words)]] == [word.name for word in words]
    assert [
        sum(digit * DIGIT**place for place, digit in enumerate(letters))
        for _, _, *letters in row[: len(words)]
    ] == [word.letters for word in words]
    assert not row[len(words) :].any()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
def test_tokens_survive_half_precision(prompt):
    """The last tokens that ask are read back from float16 exactly, the very last one first, those of names marked."""
    read = spelled(batch(prompt).token_rows(WIDTH).numpy().astype(np.float16))
    asking = prompt[SPELLING.asks_from(prompt) :]
    last = asking[::-1][:TOKENS]
    assert read.token[0].tolist() == last
    assert read.there.all()
    names = {place for word in SPELLING.words(asking) if word.name for place in range(word.start, word.stop)}
    assert read.name[0].tolist() == [len(asking) - 1 - place in names for place in range(len(last))]


@given(st.integers(0, 2**20))
def test_any_token_number_is_two_digits(number):
    """Vocabularies of up to a million tokens fit."""
    reading = Reading(SPELLING, torch.tensor([[number]]), torch.ones(1, 1))
    assert spelled(reading.token_rows(WIDTH).numpy().astype(np.float16)).token.tolist() == [[number]]


def test_padding_is_not_read():
    """The same prompt gives the same rows whatever stands beside it, on whichever side the padding is."""
    for rows in (Reading.word_rows, Reading.token_rows):
        alone = rows(batch([2, 1]), WIDTH)[0]
        for left in (True, False):
            torch.testing.assert_close(rows(batch([2, 1], [0, 1, 2, 6], left=left), WIDTH)[0], alone)


def test_a_prompt_of_embeddings_has_no_words():
    """Where the tokens are not known, the rows are empty and nothing weighs."""
    reading = Reading(SPELLING, None, torch.ones(2, 3))
    assert not reading.token_rows(WIDTH).any()
    assert not reading.word_rows(WIDTH).any()
    assert not reading.frame_weights().any()


def test_names_and_marks_do_not_weigh_in_the_frame():
    """Words that are no names weigh by their rank, at their own positions, under either padding."""
    for left, place in ((True, 1), (False, 0)):
        weights_BT = batch([0, 2, 6], [0, 1, 2, 4, 6][:4], left=left).frame_weights()
        assert weights_BT[0].count_nonzero() <= 1
        assert weights_BT[1, 1] > 0
        assert weights_BT[1, 2:].count_nonzero() == 0
        assert weights_BT[0, place] == weights_BT[1, 0]


def test_the_frame_is_the_weighted_mean_of_what_is_no_name():
    """Pooling a frame gives the mean by weight; a prompt of names alone gives zeros, and pads never spill."""
    reading = batch([1, 2], [2, 2])
    hidden_BTD = torch.randn(2, 2, 5)
    hidden_BTD[1, 0] = torch.inf
    frame_BD = pool(hidden_BTD, torch.ones(2, 2), "frame", reading)
    torch.testing.assert_close(frame_BD[0], hidden_BTD[0, 0])
    assert not frame_BD[1].any()


def test_what_stands_before_the_last_sentence_with_a_name_is_not_read():
    """Words, tokens and means are those of the sentence that asks, under either padding, whatever was said before it."""
    asking = [0, 1, 2]
    hidden_BTD = torch.randn(2, 8, 5)
    for left in (True, False):
        reading = batch([8, 9, 6, *asking], [*range(7), 7], left=left)
        alone = batch(asking)
        torch.testing.assert_close(reading.word_rows(WIDTH)[0], alone.word_rows(WIDTH)[0])
        torch.testing.assert_close(reading.token_rows(WIDTH)[0], alone.token_rows(WIDTH)[0])
        marked_T = reading.asking_BT[0]
        assert marked_T.sum() == 3
        mean_D = pool(hidden_BTD, torch.ones(2, 8), "mean", reading)[0]
        torch.testing.assert_close(mean_D, hidden_BTD[0, marked_T].mean(dim=0))
