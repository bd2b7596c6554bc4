"""Candidates are ranked by distance, then row, whatever the order and the portions they come in."""

import numpy as np
import pytest

from sola_index.answers import answer
from sola_index.contract import NO_ID
from sola_index.shortlist import NOTHING, Shortlist, distances_of, padded, row_numbers
from sola_index.table import KeyTable
from sola_index.testing.conformance import consecutive, unit_keys
from tests.index.helpers import DIM


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("portions", [1, 3, 7])
def test_the_best_are_those_of_a_full_sort(table, metric, portions):
    """Offered in portions, the k best are what sorting all distances gives; the dead row is not among them."""
    queries_MD = unit_keys(4, 2, DIM)
    shortlist = Shortlist(table, metric, queries_MD)
    order = np.random.default_rng(0).permutation(100)
    for rows_C in np.array_split(order, portions):
        shortlist.offer(np.tile(rows_C, (4, 1)))
    squared_MN = ((table.tail_ND[:100] - queries_MD[:, None]) ** 2).sum(2)
    squared_MN[:, 5] = np.inf
    np.testing.assert_allclose(shortlist.nearest_squared_M, squared_MN.min(1), rtol=1e-5)
    found_MK = shortlist.best(20)
    assert (row_numbers(found_MK) == squared_MN.argsort(axis=1)[:, :20]).all()
    assert (np.diff(distances_of(found_MK)) >= 0).all()


def test_equal_keys_are_ranked_by_row(table):
    """Of equally far keys the lowest rows come first, also when not all of them fit."""
    shortlist = Shortlist(table, "cosine", table.tail_ND[10:11].copy())
    shortlist.offer(np.array([[40, 12, 11, 30, 10]]))
    assert row_numbers(shortlist.best(2)).tolist() == [[10, 11]]


def test_offered_again_a_row_counts_once(table):
    """A row that is found in two lists, or by a scan and the hash table both, is listed once."""
    shortlist = Shortlist(table, "cosine", unit_keys(2, 3, DIM))
    shortlist.offer(np.array([[10, 20, -1], [30, 40, 50]]))
    shortlist.offer(np.array([[10, 11, 12], [30, 30, -1]]))
    rows_MK = row_numbers(shortlist.best(6))
    assert sorted(rows_MK[0].tolist()) == [-1, -1, 10, 11, 12, 20]
    assert sorted(rows_MK[1].tolist()) == [-1, -1, -1, 30, 40, 50]


def test_fewer_candidates_than_asked_for_are_filled_up(table):
    """Missing places hold no row; none at all is no error."""
    shortlist = Shortlist(table, "cosine", unit_keys(1, 3, DIM))
    assert (shortlist.best(3) == NOTHING).all()
    assert shortlist.best(None).shape == (1, 0)
    shortlist.offer(padded([np.array([5, 7])]))
    assert row_numbers(shortlist.best(3)).tolist() == [[7, -1, -1]]


def test_an_answer_closes_the_gaps_of_rows_that_died(table):
    """Rows that died between measuring and answering are left out, and the others move up."""
    shortlist = Shortlist(table, "cosine", table.tail_ND[20:21].copy())
    shortlist.offer(np.array([[20, 21, 22]]))
    ranks_MK = shortlist.best(4)
    table.kill(np.array([20]))
    found = answer(table, table, ranks_MK)
    assert sorted(found.ids[0, :2].tolist()) == consecutive(100)[[21, 22]].tolist()
    assert found.ids[0, 2:].tolist() == [NO_ID, NO_ID]
    assert np.isinf(found.distances[0, 2:]).all()


def test_rows_in_base_and_tail_are_measured_alike(table):
    """A table over a mapped base measures both of its parts, in any mixture."""
    keys_ND = table.tail_ND[:100].copy()
    split = KeyTable.over_base(keys_ND[:60], consecutive(60), np.ones(60, np.bool_), np.ones(60, np.float32))
    split.append(consecutive(40, 61), keys_ND[60:])
    rows_MC = np.array([[0, 59, 60, 99, -1], [70, 80, 90, 95, 61], [1, 2, 3, 4, -1]])
    queries_MD = unit_keys(3, 9, DIM)
    whole, parts = table.squared_distances(queries_MD, rows_MC), split.squared_distances(queries_MD, rows_MC)
    assert (whole == parts).all()
    assert np.isinf(whole[0, 4])
