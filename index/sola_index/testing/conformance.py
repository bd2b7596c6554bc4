"""The conformance suite: subclass it, say how to make an index, and pytest checks the whole contract."""

import abc
from pathlib import Path

import numpy as np
import pytest

from sola_index.brute import BruteForceIndex
from sola_index.contract import NO_ID, Floats, Ids, Metric, NearestKeyIndex
from sola_index.errors import ClosedIndexError, InvalidIdError, InvalidKeyError, SnapshotError, UnknownIdError

# Shapes: M queries, N keys, D dimensions, K answers a query.
DIM = 32


def unit_keys(count: int, seed: int, dim: int = DIM) -> Floats:
    """Random unit keys, float32 [N, D]."""
    keys_ND = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(keys_ND / np.linalg.norm(keys_ND, axis=1, keepdims=True), np.float32)


def consecutive(count: int, first: int = 1) -> Ids:
    """Ids ``first, first + 1, ...``."""
    return np.arange(first, first + count, dtype=np.uint64)


def hard_keys(kind: str, count: int, dim: int = DIM) -> Floats:
    """Keys that break naive indexes: ``duplicates``, ``clusters``, ``outlier``, ``equal`` or ``drift``; not unit length."""
    rng = np.random.default_rng(len(kind))
    noise_ND = rng.normal(size=(count, dim)).astype(np.float32)
    if kind == "duplicates":
        return noise_ND[rng.integers(0, max(1, count // 4), count)]
    if kind == "clusters":
        return noise_ND[rng.integers(0, 5, count)] + np.float32(1e-3) * noise_ND
    if kind == "outlier":
        noise_ND[:, 0] += 3000.0
        return noise_ND
    if kind == "equal":
        return np.repeat(noise_ND[:1], count, axis=0)
    drift_N1 = np.linspace(0, 20, count, dtype=np.float32)[:, None]
    return noise_ND + drift_N1


class IndexConformance(abc.ABC):
    """Every promise of `NearestKeyIndex`, as tests; an implementation passes all of them or is not one."""

    @abc.abstractmethod
    def make(self, dim: int, metric: Metric) -> NearestKeyIndex:
        """An empty index of the implementation under test."""

    def settle(self, index: NearestKeyIndex) -> None:
        """Let background work finish; for implementations that have any."""
        del index

    size = 600
    """How many keys the larger tests use; raise it to reach the tiers of an implementation."""

    @pytest.fixture(params=["cosine", "l2"])
    def metric(self, request: pytest.FixtureRequest) -> Metric:
        """Both metrics."""
        metric: Metric = request.param
        return metric

    def test_an_empty_index_answers_with_the_filler(self, metric: Metric) -> None:
        """Searching nothing finds nothing: filler ids at infinite distance."""
        index = self.make(DIM, metric)
        found = index.search(unit_keys(3, 0), 2)
        assert found.ids.shape == found.distances.shape == (3, 2)
        assert (found.ids == NO_ID).all()
        assert np.isinf(found.distances).all()
        assert len(index) == 0
        assert index.last_id is None
        assert len(index.within(unit_keys(3, 0), 10.0).ids) == 0

    def test_every_key_finds_itself_at_distance_zero(self, metric: Metric) -> None:
        """An id that was added is found by its own key, first and at exactly zero."""
        index = self.make(DIM, metric)
        ids_N, keys_ND = consecutive(self.size, 7), unit_keys(self.size, 1)
        index.add(ids_N, keys_ND)
        self.settle(index)
        found = index.search(keys_ND, 1)
        assert (found.ids[:, 0] == ids_N).all()
        assert (found.distances[:, 0] == 0).all()

    def test_a_new_key_is_findable_at_once(self, metric: Metric) -> None:
        """Each add is visible to the very next search."""
        index = self.make(DIM, metric)
        keys_ND = unit_keys(self.size, 2)
        for start in range(0, self.size, 97):
            part_ND = keys_ND[start : start + 97]
            index.add(consecutive(len(part_ND), start + 1), part_ND)
            found = index.search(part_ND, 1)
            assert (found.ids[:, 0] == consecutive(len(part_ND), start + 1)).all()

    def test_exact_search_equals_brute_force(self, metric: Metric) -> None:
        """With ``exact`` every id and every distance equals the twin's, after removals too."""
        index, twin = self.make(DIM, metric), BruteForceIndex(DIM, metric)
        ids_N, keys_ND = consecutive(self.size), unit_keys(self.size, 3)
        for each in (index, twin):
            each.add(ids_N, keys_ND)
            each.remove(ids_N[::3])
        self.settle(index)
        queries_MD = unit_keys(40, 4)
        found, truth = index.search(queries_MD, 9, exact=True), twin.search(queries_MD, 9)
        np.testing.assert_array_equal(found.ids, truth.ids)
        np.testing.assert_array_equal(found.distances, truth.distances)

    def test_approximate_search_reports_true_distances(self, metric: Metric) -> None:
        """Whatever is returned, its distance is that of the full key, sorted, without repetition."""
        index, twin = self.make(DIM, metric), BruteForceIndex(DIM, metric)
        ids_N, keys_ND = consecutive(self.size), unit_keys(self.size, 5)
        index.add(ids_N, keys_ND)
        twin.add(ids_N, keys_ND)
        self.settle(index)
        queries_MD = unit_keys(20, 6)
        found, everything = index.search(queries_MD, 8), twin.search(queries_MD, self.size)
        for got_K, far_K, all_N, all_far_N in zip(
            found.ids, found.distances, everything.ids, everything.distances, strict=True
        ):
            truth = dict(zip(all_N.tolist(), all_far_N.tolist(), strict=True))
            assert [truth[key_id] for key_id in got_K.tolist()] == far_K.tolist()
            assert (np.diff(far_K) >= 0).all()
            assert len(set(got_K.tolist())) == len(got_K)

    @pytest.mark.parametrize("radius", [0.0, 1e-4, 0.3, 0.9, 1.5, np.inf])
    def test_within_equals_brute_force(self, metric: Metric, radius: float) -> None:
        """Radius search returns exactly what measuring every key returns, for small and large radii."""
        index, twin = self.make(DIM, metric), BruteForceIndex(DIM, metric)
        ids_N, keys_ND = consecutive(self.size), unit_keys(self.size, 8)
        for each in (index, twin):
            each.add(ids_N, keys_ND)
            each.remove(ids_N[5::7])
        self.settle(index)
        queries_MD = np.concatenate([keys_ND[:10], unit_keys(10, 9)])
        found, truth = index.within(queries_MD, radius), twin.within(queries_MD, radius)
        np.testing.assert_array_equal(found.offsets, truth.offsets)
        np.testing.assert_array_equal(found.ids, truth.ids)
        np.testing.assert_array_equal(found.distances, truth.distances)

    def test_a_removed_id_never_returns(self, metric: Metric) -> None:
        """No search, exact or not, near or far, returns a removed id; the rest stay findable."""
        index = self.make(DIM, metric)
        ids_N, keys_ND = consecutive(self.size), unit_keys(self.size, 10)
        index.add(ids_N, keys_ND)
        self.settle(index)
        gone_N = ids_N[::2]
        index.remove(gone_N)
        for exact in (False, True):
            found = index.search(keys_ND, 8, exact=exact)
            assert not np.isin(found.ids, gone_N).any()
            assert (found.ids[1::2, 0] == ids_N[1::2]).all()
        assert not np.isin(index.within(keys_ND, 2.5).ids, gone_N).any()
        assert not np.isin(index.ids, gone_N).any()
        assert int(gone_N[0]) not in index
        assert int(ids_N[1]) in index
        assert len(index) == self.size - len(gone_N)

    def test_removals_are_refilled(self, metric: Metric) -> None:
        """When the nearest keys are removed, the next ones take their place: k live keys give k answers."""
        index = self.make(DIM, metric)
        ids_N, keys_ND = consecutive(self.size), unit_keys(self.size, 11)
        index.add(ids_N, keys_ND)
        self.settle(index)
        nearest = index.search(keys_ND[0], self.size // 2, exact=True).ids[0]
        index.remove(np.sort(nearest))
        found = index.search(keys_ND[0], 8)
        assert (found.ids != NO_ID).all()

    def test_an_id_is_never_used_twice(self, metric: Metric) -> None:
        """An id at or below the last one is refused, even after its removal, and nothing is added."""
        index = self.make(DIM, metric)
        keys_ND = unit_keys(4, 12)
        index.add(consecutive(3, 5), keys_ND[:3])
        index.remove(consecutive(1, 7))
        for first in (4, 5, 7):
            with pytest.raises(InvalidIdError):
                index.add(consecutive(1, first), keys_ND[3:])
        with pytest.raises(InvalidIdError):
            index.add(np.array([9, 9], np.uint64), keys_ND[:2])
        with pytest.raises(InvalidIdError):
            index.add(np.array([10, 9], np.uint64), keys_ND[:2])
        with pytest.raises(InvalidIdError):
            index.add(np.array([NO_ID], np.uint64), keys_ND[:1])
        with pytest.raises(InvalidIdError):
            index.add(consecutive(2, 20), keys_ND[:1])
        assert index.ids.tolist() == [5, 6]
        assert index.last_id == 7

    def test_ids_may_be_as_large_as_uint64_allows(self, metric: Metric) -> None:
        """Ids beyond the signed range survive add, search and removal."""
        index = self.make(DIM, metric)
        keys_ND = unit_keys(2, 13)
        ids_N = np.array([2**63 + 5, NO_ID - 1], np.uint64)
        index.add(ids_N, keys_ND)
        assert (index.search(keys_ND, 1).ids[:, 0] == ids_N).all()
        index.remove(ids_N[1:])
        assert index.ids.tolist() == [2**63 + 5]

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda keys: keys.astype(np.float64),
            lambda keys: keys[:, :-1],
            lambda keys: np.where(np.arange(DIM) == 3, np.nan, keys).astype(np.float32),
            lambda keys: np.where(np.arange(DIM) == 3, -np.inf, keys).astype(np.float32),
            lambda keys: keys * np.float32(1e30),
        ],
        ids=["dtype", "width", "nan", "infinity", "overflow"],
    )
    def test_bad_keys_are_refused_before_anything_changes(self, metric: Metric, spoil: object) -> None:
        """Wrong dtype or width, NaN, infinity and overflow raise; the index is as it was."""
        assert callable(spoil)
        index = self.make(DIM, metric)
        index.add(consecutive(3), unit_keys(3, 14))
        bad = spoil(unit_keys(2, 15))
        with pytest.raises(InvalidKeyError):
            index.add(consecutive(2, 10), bad)
        with pytest.raises(InvalidKeyError):
            index.search(bad, 1)
        with pytest.raises(InvalidKeyError):
            index.within(bad, 0.1)
        assert index.last_id == 3
        assert len(index) == 3

    def test_cosine_refuses_keys_that_are_not_of_unit_length(self) -> None:
        """Normalising silently would hide a caller's mistake."""
        index = self.make(DIM, "cosine")
        with pytest.raises(InvalidKeyError, match="length"):
            index.add(consecutive(1), unit_keys(1, 16) * np.float32(1.1))

    def test_removing_an_unknown_id_changes_nothing(self, metric: Metric) -> None:
        """A call that names one unknown, removed or repeated id removes none."""
        index = self.make(DIM, metric)
        index.add(consecutive(5), unit_keys(5, 17))
        index.remove(consecutive(1, 5))
        for wrong in ([1, 9], [1, 5], [0]):
            with pytest.raises(UnknownIdError):
                index.remove(np.array(wrong, np.uint64))
        with pytest.raises(InvalidIdError):
            index.remove(np.array([1, 1], np.uint64))
        assert index.ids.tolist() == [1, 2, 3, 4]
        with pytest.raises(UnknownIdError):
            index.keys_of(consecutive(1, 5))

    def test_keys_are_given_back_bit_for_bit(self, metric: Metric) -> None:
        """What went in comes out, and is a copy."""
        index = self.make(DIM, metric)
        keys_ND = unit_keys(20, 18)
        index.add(consecutive(20), keys_ND.copy())
        np.testing.assert_array_equal(index.keys_of(consecutive(20)), keys_ND)
        index.keys_of(consecutive(20))[:] = 0
        np.testing.assert_array_equal(index.keys_of(consecutive(20)), keys_ND)

    @pytest.mark.parametrize("kind", ["duplicates", "clusters", "outlier", "equal", "drift"])
    def test_hard_keys_are_searched_exactly(self, kind: str) -> None:
        """Duplicates, tight clusters, an outlier dimension, equal keys and drift change nothing in exact answers."""
        index, twin = self.make(DIM, "l2"), BruteForceIndex(DIM, "l2")
        ids_N, keys_ND = consecutive(self.size), hard_keys(kind, self.size)
        for each in (index, twin):
            each.add(ids_N[: self.size // 2], keys_ND[: self.size // 2])
            each.add(ids_N[self.size // 2 :], keys_ND[self.size // 2 :])
            each.remove(ids_N[1::5])
        self.settle(index)
        queries_MD = keys_ND[:: self.size // 15]
        found, truth = index.search(queries_MD, 6, exact=True), twin.search(queries_MD, 6)
        np.testing.assert_array_equal(found.ids, truth.ids)
        np.testing.assert_array_equal(found.distances, truth.distances)
        # Ids of rows 1, 6, 11, ... are removed; the others are live and lie at distance zero from themselves.
        assert (index.search(keys_ND[2::5], 1).distances == 0).all()
        radius = float(truth.distances[:, 1].max())
        near, all_near = index.within(queries_MD, radius), twin.within(queries_MD, radius)
        np.testing.assert_array_equal(near.ids, all_near.ids)
        np.testing.assert_array_equal(near.distances, all_near.distances)

    def test_a_snapshot_brings_everything_back(self, metric: Metric, tmp_path: Path) -> None:
        """Ids, keys, removals, the last id and the sequence number survive; a second snapshot replaces the first."""
        index = self.make(DIM, metric)
        ids_N, keys_ND = consecutive(self.size), unit_keys(self.size, 19)
        index.add(ids_N[:-1], keys_ND[:-1])
        index.snapshot(tmp_path / "snap", 41)
        index.add(ids_N[-1:], keys_ND[-1:])
        index.remove(ids_N[-2:])
        index.snapshot(tmp_path / "snap", 42)
        again, lsn = type(index).load(tmp_path / "snap")
        assert lsn == 42
        assert again.last_id == self.size
        assert again.metric == metric
        np.testing.assert_array_equal(again.ids, ids_N[:-2])
        np.testing.assert_array_equal(again.keys_of(ids_N[:-2]), keys_ND[:-2])
        self.settle(again)
        assert (again.search(keys_ND[:-2], 1).ids[:, 0] == ids_N[:-2]).all()
        again.add(consecutive(1, self.size + 1), keys_ND[-1:])
        assert again.search(keys_ND[-1], 1).ids[0, 0] == self.size + 1
        again.close()

    def test_a_missing_snapshot_is_an_error(self, tmp_path: Path) -> None:
        """Loading from an empty folder raises and makes nothing."""
        with pytest.raises(SnapshotError):
            type(self.make(DIM, "l2")).load(tmp_path / "none")
        assert not (tmp_path / "none").exists()

    def test_a_closed_index_refuses_use(self, metric: Metric) -> None:
        """After close every question and change raises; closing again does not."""
        index = self.make(DIM, metric)
        index.add(consecutive(2), unit_keys(2, 20))
        index.close()
        index.close()
        with pytest.raises(ClosedIndexError):
            index.search(unit_keys(1, 20), 1)
        with pytest.raises(ClosedIndexError):
            index.add(consecutive(1, 3), unit_keys(1, 21))
        with pytest.raises(ClosedIndexError):
            index.remove(consecutive(1))
        with pytest.raises(ClosedIndexError):
            index.within(unit_keys(1, 20), 0.1)
