"""What keys leave in doubt: saved, loaded, and refused where it does not fit together."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from sola_scale.errors import CalibrationError
from sola_scale.keys.doubts import Doubts
from tests.keys.crossed import spelled_of
from tests.keys.doubtful import TEXTS, doubts_of

NAMES = [one.name for one in dataclasses.fields(Doubts)]
TABLES = [name for name in NAMES if name.endswith(("_Qk", "_NT"))]


def arrays_of(doubts):
    return {name: np.ascontiguousarray(getattr(doubts, name)) for name in NAMES}


def assert_refused(path, **changed):
    """Neither made nor loaded."""
    with pytest.raises(CalibrationError):
        doubts_of(**changed)
    save_file({**arrays_of(doubts_of()), **changed}, path)
    with pytest.raises(CalibrationError):
        Doubts.load(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "doubts.safetensors"


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_saved_is_loaded(path, order):
    """Saved and loaded, every array has the values and the type that it had, however it lay in memory."""
    spelled = spelled_of([[3, 4, 5][: 1 + text % 3] for text in range(TEXTS)])
    texts = {"token_NT": spelled.token, "name_NT": spelled.token == 4, "there_NT": spelled.there}
    plain = doubts_of(**texts)
    doubts = Doubts(**{name: np.asarray(getattr(plain, name), order=order) for name in NAMES})
    doubts.save(path)
    loaded = Doubts.load(path)
    for name in NAMES:
        before, after = getattr(doubts, name), getattr(loaded, name)
        np.testing.assert_array_equal(after, before, err_msg=name)
        assert after.dtype == before.dtype


def test_the_texts_are_given_as_their_tokens():
    """The texts are spelled with the three arrays of their tokens."""
    doubts = doubts_of()
    assert doubts.spelled.token is doubts.token_NT
    assert doubts.spelled.name is doubts.name_NT
    assert doubts.spelled.there is doubts.there_NT


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_lacks_an_array_is_refused(path, name):
    """A file without one of the arrays holds no doubts."""
    save_file({one: array for one, array in arrays_of(doubts_of()).items() if one != name}, path)
    with pytest.raises(CalibrationError, match="no doubts"):
        Doubts.load(path)


def test_a_file_of_other_arrays_is_refused(path):
    """A file of other arrays holds no doubts, nor does one that has an array more."""
    other = {"other": np.zeros(3, np.float32)}
    for arrays in ({}, other, {**arrays_of(doubts_of()), **other}):
        save_file(arrays, path)
        with pytest.raises(CalibrationError, match="no doubts"):
            Doubts.load(path)


def test_a_truncated_file_is_refused(path):
    """A file that ends early, in its header or in an array, holds no doubts, nor does an empty one."""
    doubts_of().save(path)
    whole = path.read_bytes()
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CalibrationError, match="no doubts"):
            Doubts.load(path)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_unequal_lengths_are_refused(path, name):
    """An array with one row less than the others of its kind does not fit to them."""
    assert_refused(path, **{name: arrays_of(doubts_of())[name][:-1]})


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_unequal_widths_are_refused(path, name):
    """A table with one column more than the others of its kind does not fit to them."""
    table = arrays_of(doubts_of())[name]
    assert_refused(path, **{name: np.concatenate([table, table[:, -1:]], axis=1)})


@pytest.mark.parametrize("number", [TEXTS, TEXTS + 7, -1, -TEXTS - 1])
@pytest.mark.parametrize("name", ["query_Q", "candidate_Qk"])
def test_a_number_of_no_text_is_refused(path, name, number):
    """Queries and candidates are texts: a number beyond the last one is refused, and so is one below zero."""
    numbers = arrays_of(doubts_of())[name].copy()
    numbers.flat[5] = number
    assert_refused(path, **{name: numbers})


def test_the_last_text_is_one():
    """Queries and candidates may be the first text and the last one."""
    plain = doubts_of()
    query_Q, candidate_Qk = plain.query_Q.copy(), plain.candidate_Qk.copy()
    query_Q[:2] = candidate_Qk[2:4, 0] = 0, TEXTS - 1
    assert doubts_of(query_Q=query_Q, candidate_Qk=candidate_Qk).query_Q[1] == TEXTS - 1
