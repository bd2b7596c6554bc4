"""The small parts: distances, twins, frames, bounds, checks of installation and settings."""

import threading

import numpy as np
import pytest

from sola_index import BackendError, IndexConfig, KeyIndex, KeyIndexError, exact
from sola_index.backend import check_builds
from sola_index.compressed import code_errors, lookup_slack
from sola_index.distances import squared_distances
from sola_index.effort import FEWEST_LISTS, first_codes, hard_codes, lists_holding
from sola_index.frame import Frame, deal
from sola_index.lists import imbalance
from sola_index.table import KeyTable
from sola_index.testing.conformance import consecutive, hard_keys, unit_keys
from sola_index.twins import TwinTable
from tests.index.helpers import DIM, SMALL, clustered_keys, filled_index


def test_distances_are_those_of_double_precision():
    """Direct subtraction in float32 stays within a millionth of the true distance, and is zero for the key itself."""
    for kind in ("clusters", "outlier", "drift"):
        keys_ND = hard_keys(kind, 200)
        measured = squared_distances(keys_ND[7:8], keys_ND, np.arange(200)[None])[0]
        truth = ((keys_ND.astype(np.float64) - keys_ND[7].astype(np.float64)) ** 2).sum(1)
        np.testing.assert_allclose(measured, truth, rtol=1e-5, atol=1e-12)
        assert measured[7] == 0


def test_live_rows_are_rows_while_a_writer_removes():
    """Listing the live rows beside a writer never gives a row that is none, nor one twice."""
    table, stop = KeyTable(2), threading.Event()
    table.append(consecutive(100_000), np.zeros((100_000, 2), np.float32))

    def write():
        rng = np.random.default_rng(0)
        while not stop.is_set():
            table.live_N[:] = True
            for _ in range(50):
                table.live_N[rng.integers(0, 100_000, 1000)] = False

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            rows_N = table.live_rows(10, 100_000)
            assert rows_N[0] >= 10
            assert rows_N[-1] < 100_000
            assert (np.diff(rows_N) > 0).all()
    finally:
        stop.set()
        writer.join()


def test_exact_search_holds_its_bounds_where_the_expanded_form_fails():
    """The matrix product's error bound always contains the true distance, with an outlier of 3000 too."""
    for kind in ("duplicates", "clusters", "outlier", "equal", "drift"):
        keys_ND = hard_keys(kind, 300)
        table = KeyTable(DIM)
        table.append(consecutive(300), keys_ND)
        block = next(table.blocks(0, 300, 300))
        lower_MB, upper_MB = exact.bounds(keys_ND[:20], block)
        truth = ((keys_ND[:20, None].astype(np.float64) - keys_ND.astype(np.float64)) ** 2).sum(2)
        assert (lower_MB <= truth).all()
        assert (truth <= upper_MB).all()


def test_a_frame_never_lengthens_a_distance():
    """Rearranged distances are the same up to rounding; projected ones (over 1,024 dimensions) are not longer."""
    for dim in (3, 30, 64, 1100):
        keys_ND = np.random.default_rng(dim).normal(size=(80, dim)).astype(np.float32)
        frame = Frame.fit(keys_ND)
        keys_NZ = frame(keys_ND)
        assert frame.width % 8 == 0
        before = np.linalg.norm(keys_ND[1:] - keys_ND[:-1], axis=1)
        after = np.linalg.norm(keys_NZ[1:] - keys_NZ[:-1], axis=1)
        assert (after <= before * (1 + 1e-4)).all()
        if dim <= 1024:
            np.testing.assert_allclose(after, before, rtol=1e-4)


def test_every_symbol_gets_as_many_strong_dimensions_as_weak_ones():
    """Dealt out, the groups behind the symbols carry nearly the same variance, and every dimension comes once."""
    source_Z = deal(np.arange(64.0, 0, -1))
    assert sorted(source_Z.tolist()) == list(range(64))
    carried_G = (64.0 - source_Z).reshape(-1, 4).sum(1)
    assert carried_G.max() == carried_G.min()
    assert sorted(deal(np.ones(30)).tolist()) == list(range(32))


def test_wide_keys_are_searched_through_a_projection():
    """More than 1,024 dimensions work in the compressed tiers, radius search included."""
    keys_ND = unit_keys(400, 5, 1100)
    index = KeyIndex(1100, "cosine", SMALL)
    index.add(consecutive(400), keys_ND)
    assert index.stats().tier == "scan"
    assert (index.search(keys_ND, 1).ids[:, 0] == consecutive(400)).all()
    near, _ = index.within(keys_ND[:1], 0.01)[0]
    assert near.tolist() == [1]


def test_twins_are_found_among_sorted_and_recent_rows():
    """Equal keys are listed in row order, across merges; -0.0 equals 0.0."""
    keys_ND = clustered_keys(6000, 1)
    keys_ND[[3, 700, 5999]] = keys_ND[10]
    keys_ND[[50, 51]] = 0.0
    keys_ND[51] = -keys_ND[51]
    twins = TwinTable(DIM)
    for start in range(0, 6000, 500):
        twins.extend(start, keys_ND[start : start + 500])
    assert twins.matches(keys_ND[10:11])[0].tolist() == [3, 10, 700, 5999]
    assert twins.matches(keys_ND[50:51])[0].tolist() == [50, 51]
    twins.columns()
    assert twins.matches(keys_ND[10:11])[0].tolist() == [3, 10, 700, 5999]
    assert not twins.matches(unit_keys(1, 99))


def test_small_radii_are_certified_by_few_lists():
    """The bisector bound leaves a small part of the lists to look at, and the depth certificate closes the rest."""
    index, keys_ND = filled_index(3000)
    tier = index._state.tier
    kept = [tier.reachable(tier.frame(key_D[None])[0], 0.05) for key_D in keys_ND[:100]]
    shares = [1.0 if lists_L is None else len(lists_L) / tier.codes.nlist for lists_L in kept]
    assert np.median(shares) < 0.4
    assert all(tier.within(key_D, 0.05) is not None for key_D in keys_ND[:20])


def test_the_scan_never_misjudges_a_distance_by_more_than_its_slack():
    """Distances that FastScan reports lie within the slack of those of the decoded codes."""
    index, keys_ND = filled_index(400)
    tier = index._state.tier
    keys_NZ = tier.frame(keys_ND)
    decoded_NZ = tier.codes.pq.decode(tier.codes.pq.compute_codes(keys_NZ))
    for query_Z in keys_NZ[:50]:
        squared_MR, rows_MR = tier.scan(query_Z[None], 100, None)
        truth_R = ((decoded_NZ[rows_MR[0]] - query_Z) ** 2).sum(1)
        assert np.abs(squared_MR[0] - truth_R).max() <= lookup_slack(tier.codes.pq, query_Z[None])
    assert code_errors(tier.codes.pq, keys_NZ).max() <= tier.measures.worst_error**2 * (1 + 1e-6)


def test_imbalance_is_one_for_even_lists():
    """Even lists score one; everything in one of four scores four."""
    assert imbalance(np.array([5, 5, 5, 5])) == 1.0
    assert imbalance(np.array([20, 0, 0, 0])) == 4.0
    assert imbalance(np.array([0, 0])) == 1.0


def test_two_builds_of_faiss_are_refused_with_the_fix():
    """faiss-cpu and faiss-gpu overwrite each other; the message says how to get out of it."""
    check_builds(["faiss-cpu"])
    with pytest.raises(BackendError, match="pip uninstall -y faiss-cpu faiss-gpu"):
        check_builds(["faiss-cpu", "faiss-gpu"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"scan_from": 10},
        {"lists_from": 300},
        {"growth": 1.0},
        {"dead_share": 1.0},
        {"deep": 1},
        {"sample": 100},
        {"device_stale": 0.0},
        {"nearness": 3.0},
        {"first_share": 0.0},
        {"hard_share": 0.01},
        {"most_share": 0.0},
        {"further": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    """Each setting is checked when the configuration is made."""
    with pytest.raises(KeyIndexError):
        IndexConfig(**wrong)


def test_a_query_looks_at_a_share_of_the_codes_however_uneven_the_lists_are():
    """Lists are entered until they hold what is due: few great ones or many small ones, eight at least, all at most."""
    config = IndexConfig(first_codes=100, first_share=0.1, hard_codes=200, hard_share=0.3, most_share=0.6)
    even_L, great_L = np.arange(1, 101) * 10, np.arange(1, 101) * 500
    assert lists_holding(even_L, first_codes(config, 1_000)) == 10
    assert lists_holding(even_L, first_codes(config, 2_000)) == 20
    assert lists_holding(great_L, first_codes(config, 50_000)) == 10
    assert lists_holding(great_L, 1) == FEWEST_LISTS
    assert lists_holding(even_L, 10**9) == 100
    shares = [hard_codes(config, 10_000, errors**2, 1.0) / 10_000 for errors in (0.9, 1.3, 1.9, 1.97, 1e30)]
    assert shares[0] == 0.3
    assert sorted(shares) == shares
    assert shares[3] == shares[4] == 0.6
    assert hard_codes(config, 10_000, 0.0, 0.0) == 3_000
