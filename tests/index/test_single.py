"""A single query takes a path of its own, and finds what it would find in a batch."""

import dataclasses
import threading
from itertools import pairwise

import numpy as np
import pytest

from sola_index.config import IndexConfig
from sola_index.shortlist import NOTHING, Shortlist
from sola_index.single import OneQuery, Scratch
from sola_index.testing.conformance import consecutive, unit_keys
from sola_index.twins import TwinTable
from tests.index.helpers import DIM, SMALL, clustered_keys, filled_index

SCAN = IndexConfig(scan_from=256, lists_from=100_000, tail=16, background=False)
LISTS = IndexConfig(scan_from=256, lists_from=512, tail=16, first_codes=200, hard_codes=400, background=False)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("k", [1, 8, 99, 120])
def test_candidates_are_ranked_as_those_of_a_batch_are(table, metric, k):
    """The same rows offered in portions give the same ranks, dead ones left out, equal keys in row order."""
    query_1D = table.tail_ND[11:12].copy()
    one, batch = OneQuery(table, metric, query_1D), Shortlist(table, metric, query_1D)
    for rows_C in (np.arange(40), np.array([-1]), np.arange(40, 100), np.empty(0, np.int64)):
        one.offer(rows_C)
        batch.offer(rows_C[None])
    np.testing.assert_array_equal(one.best(k), batch.best(k))


def test_the_nearest_distance_of_an_offer_is_said(table):
    """An offer returns the squared distance of its nearest live row, infinite where there is none."""
    one = OneQuery(table, "cosine", table.tail_ND[20:21].copy())
    assert one.offer(np.array([3, 20, -1])) == 0
    assert one.offer(np.array([5, -1])) == np.inf
    assert one.offer(np.empty(0, np.int64)) == np.inf


def test_rows_offered_again_are_counted_once(table):
    """A row that two lists hold, or a twin that the codes had found already, is not answered twice."""
    one = OneQuery(table, "l2", table.tail_ND[11:12].copy())
    one.offer(np.array([11, 30]))
    one.offer(np.array([10, 11, 12, 30]))
    assert (one.best(6)[0] != NOTHING).tolist() == [True] * 4 + [False] * 2


def test_nothing_offered_gives_nothing(table):
    """Without candidates every rank is that of no row."""
    assert (OneQuery(table, "l2", table.tail_ND[:1]).best(3) == NOTHING).all()


@pytest.mark.parametrize("config", [SCAN, LISTS])
def test_a_query_finds_alone_what_it_finds_in_a_batch(config):
    """Near and far queries get the same answers either way, but for a list or code at the very edge of the choice."""
    index, keys_ND = filled_index(3000, config)
    queries_MD = np.concatenate([clustered_keys(60, 5), unit_keys(60, 6, DIM), keys_ND[:30]])
    together = index.search(queries_MD, 8).ids
    alone = np.concatenate([index.search(query_D, 8).ids for query_D in queries_MD])
    assert (together == alone).all(axis=1).mean() > 0.95
    assert (alone[-30:, 0] == np.arange(1, 31)).all()


@pytest.mark.parametrize("config", [SCAN, LISTS])
def test_no_key_is_answered_twice(config):
    """The further look of a hard query brings no key that the first look has brought."""
    index, _ = filled_index(3000, config)
    index.remove(consecutive(3000)[::3])
    for query_D in unit_keys(50, 8, DIM):
        (ids_K,) = index.search(query_D, 64).ids.tolist()
        assert len(set(ids_K)) == 64


@pytest.mark.parametrize("config", [SCAN, SMALL])
@pytest.mark.parametrize("shallow", [8, 40])
def test_a_hard_query_with_nowhere_further_to_look_is_answered(config, shallow):
    """Where the first look took every list and measured all it may, far queries get what it found, alone or together."""
    index, keys_ND = filled_index(1000, dataclasses.replace(config, shallow=shallow, deep=40))
    queries_MD = np.concatenate([unit_keys(20, 11, DIM), keys_ND[:4]])
    together = index.search(queries_MD, 8)
    alone = np.concatenate([index.search(query_D, 8).ids for query_D in queries_MD])
    assert (together.ids == alone).mean() > 0.9
    assert (together.distances[-4:, 0] == 0).all()


def test_threads_search_at_once_without_meeting():
    """Every thread has arrays of its own for its query: answers are those of one thread alone."""
    index, _ = filled_index(3000, LISTS)
    queries_MD = np.concatenate([clustered_keys(100, 9), unit_keys(100, 10, DIM)])
    expected = [index.search(query_D, 8).ids.tolist() for query_D in queries_MD]
    wrong: list[int] = []

    def ask(shift: int) -> None:
        for turn in range(len(queries_MD)):
            number = (turn + shift) % len(queries_MD)
            if index.search(queries_MD[number], 8).ids.tolist() != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(25 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_scratch_grows_and_never_shrinks():
    """More room is made when more is asked for; addresses are those of the arrays that are read."""
    scratch = Scratch()
    sizes = []
    for rows, lists in ((10, 10), (2000, 10), (10, 5000), (3000, 6000), (1, 1)):
        scratch.hold(rows, lists)
        sizes.append((len(scratch.rows_R), len(scratch.lists_L)))
        assert len(scratch.rows_R) >= rows
        assert len(scratch.lists_L) >= lists
    assert all(first <= then for first, then in pairwise(sizes))


def test_a_twin_is_found_for_a_single_query_as_for_many():
    """Sorted and recent rows of a bit-equal key are found, with minus zero taken for zero; others have none."""
    keys_ND = unit_keys(5000, 3, DIM)
    keys_ND[4990:] = keys_ND[7]
    keys_ND[7, 0] = keys_ND[4990:, 0] = 0.0
    twins = TwinTable(DIM)
    for start in range(0, 5000, 1000):
        twins.extend(start, keys_ND[start : start + 1000])
    twins.columns()
    twins.extend(5000, keys_ND[7:8])
    query_1D = keys_ND[7:8].copy()
    query_1D[0, 0] = -0.0
    assert sorted(twins.match(query_1D).tolist()) == [7, *range(4990, 5001)]
    assert sorted(twins.matches(query_1D)[0].tolist()) == [7, *range(4990, 5001)]
    assert len(twins.match(unit_keys(1, 4, DIM))) == 0
    assert twins.match(keys_ND[12:13]).tolist() == [12]


def test_twins_of_a_batch_go_to_their_own_queries():
    """A batch of a recent and an older key, in any order, gives each query its own twin."""
    keys_ND = unit_keys(5001, 3, DIM)
    twins = TwinTable(DIM)
    twins.extend(0, keys_ND[:5000])
    twins.extend(5000, keys_ND[5000:])
    for order in ([5000, 7], [7, 5000]):
        found = twins.matches(keys_ND[order])
        assert list(found) == [0, 1]
        assert [rows_N.tolist() for rows_N in found.values()] == [[row] for row in order]
