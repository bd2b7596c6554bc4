"""Every key's code lies in two lists: the nearest centroid's, and one that errs in another direction."""

import numpy as np
import pytest

from sola_index import IndexConfig, KeyIndex
from sola_index.backend import faiss
from sola_index.lists import COPIES, ListsTier
from sola_index.spill import LEANING
from sola_index.testing.conformance import consecutive, unit_keys
from tests.index.helpers import DIM, SMALL, clustered_keys, filled_index


def lists_of_rows(tier):
    """For each row the lists that hold it."""
    held = tier.codes.invlists
    found = {}
    for number in range(tier.lists):
        for row in faiss.rev_swig_ptr(held.get_ids(number), held.list_size(number)).tolist():
            found.setdefault(row, []).append(number)
    return found


@pytest.fixture
def tier():
    """A lists tier trained on clustered keys, still empty."""
    return ListsTier.train(SMALL, clustered_keys(2000, 1), 2000)


def test_every_row_lies_in_two_lists_after_adding_and_loading(tmp_path):
    """Rows of a bulk load, of small additions, and of additions after loading lie in two different lists each."""
    index, _ = filled_index(1500)
    index.add(consecutive(300, 1501), clustered_keys(300, 2))
    index.snapshot(tmp_path, 1)
    again, _ = KeyIndex.load(tmp_path, SMALL)
    again.add(consecutive(200, 1801), clustered_keys(200, 3))
    found = lists_of_rows(again._state.tier)
    assert sorted(found) == list(range(2000))
    assert {len(set(lists)) for lists in found.values()} == {COPIES}


def test_the_second_list_errs_in_another_direction(tier):
    """The second list is the one of least distance plus leaning, of all but the first."""
    keys_NZ = tier.frame(clustered_keys(50, 4)).astype(np.float64)
    _, chosen_N = tier._spill.lists_of(keys_NZ.astype(np.float32))
    centroids_LZ = tier.centroids_LZ.astype(np.float64)
    for key_Z, chosen in zip(keys_NZ, chosen_N, strict=True):
        apart_LZ = key_Z - centroids_LZ
        distance_L = (apart_LZ**2).sum(1)
        first = distance_L.argmin()
        leaning_L = (apart_LZ @ apart_LZ[first]) ** 2 / distance_L[first]
        loss_L = distance_L + LEANING * leaning_L
        loss_L[first] = np.inf
        assert chosen != first
        assert loss_L[chosen] <= loss_L.min() * (1 + 1e-4)


def test_a_key_that_is_its_own_centroid_has_a_second_list(tier):
    """Where there is no residual, and so no direction, the second nearest list is taken."""
    own_N = np.arange(tier.lists)
    first_N, second_N = tier._spill.lists_of(tier.centroids_LZ)
    assert (first_N == own_N).all()
    assert (second_N != own_N).all()


def test_keys_that_are_all_alike_are_found(tmp_path):
    """Where all keys are equal and most lists empty, adding, searching and loading work."""
    keys_ND = np.repeat(unit_keys(1, 5, DIM), 1000, axis=0)
    index = KeyIndex(DIM, "cosine", IndexConfig(scan_from=256, lists_from=512, background=False))
    index.add(consecutive(1000), keys_ND)
    index.snapshot(tmp_path, 1)
    again, _ = KeyIndex.load(tmp_path)
    for searched in (index, again):
        assert searched.search(keys_ND[:1], 4).ids.tolist() == [[1, 2, 3, 4]]
