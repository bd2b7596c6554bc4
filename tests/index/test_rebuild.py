"""Tiers change with the number of keys; rebuilds lose nothing and hold up nobody."""

import dataclasses
import threading

import numpy as np
import pytest

from sola_index import NO_ID, BruteForceIndex, KeyIndex, background
from sola_index.answers import answer
from sola_index.maintenance import Rebuild
from sola_index.scan import ScanTier
from sola_index.testing.conformance import consecutive, unit_keys
from tests.index.helpers import DIM, SMALL, clustered_keys, filled_index

IN_BACKGROUND = dataclasses.replace(SMALL, background=True)


def test_the_tier_follows_the_number_of_keys():
    """Flat, then scan, then lists as keys come; back to flat when most are gone and cleared away."""
    index = KeyIndex(DIM, "cosine", SMALL)
    tiers = []
    for start in range(0, 1000, 100):
        index.add(consecutive(100, start + 1), clustered_keys(100, start))
        tiers.append(index.stats().tier)
    assert tiers[0] == "flat"
    assert tiers[3] == "scan"
    assert tiers[-1] == "lists"
    big = dataclasses.replace(SMALL, dead_share=0.5)
    index, _ = filled_index(4000, big)
    index.remove(index.ids[100:])
    index.settle()
    assert index.stats().tier == "flat"
    assert index.stats().dead == 0


def test_recall_is_high_in_every_compressed_tier():
    """Near queries find the exact nearest key in at least 98 of 100 cases, own keys always."""
    for count in (400, 3000):
        index, keys_ND = filled_index(count)
        queries_MD = keys_ND[:300] + 0.02 * unit_keys(300, 9)
        queries_MD = (queries_MD / np.linalg.norm(queries_MD, axis=1, keepdims=True)).astype(np.float32)
        found, truth = index.search(queries_MD, 1), index.search(queries_MD, 1, exact=True)
        assert (found.ids == truth.ids).mean() >= 0.98
        assert (index.search(keys_ND, 1).ids[:, 0] == consecutive(count)).all()


def test_writes_during_a_rebuild_are_replayed():
    """Adds and removals between any two steps of a rebuild are in the state it ends with."""
    index, keys_ND = filled_index(2500)
    index.remove(consecutive(1100))
    twin = BruteForceIndex(DIM)
    twin.add(index.ids, index.keys_of(index.ids))
    rebuild = Rebuild(SMALL, index._state)
    extra_ND = clustered_keys(60, 77)
    for step, _ in enumerate(rebuild.steps()):
        new = consecutive(10, 5000 + 10 * step)
        for each in (index, twin):
            each.add(new, extra_ND[:10])
            each.remove(np.concatenate([new[:3], consecutive(2, 2000 + 2 * step)]))
    index._swap(rebuild)
    assert index.ids.tolist() == twin.ids.tolist()
    assert index.stats().dead < 20
    found, truth = index.search(keys_ND[2000:2100], 5, exact=True), twin.search(keys_ND[2000:2100], 5)
    np.testing.assert_array_equal(found.ids, truth.ids)


def test_compaction_keeps_keys_and_drops_the_dead():
    """After a rebuild with many dead rows, only live keys are in memory."""
    index, keys_ND = filled_index(3000)
    index.remove(consecutive(2000))
    index.rebuild()
    assert index.stats().dead == 0
    assert index.stats().key_bytes == 1000 * DIM * 4
    np.testing.assert_array_equal(index.keys_of(consecutive(1000, 2001)), keys_ND[2000:])


def test_forgetting_leaves_no_byte_of_a_removed_key(tmp_path):
    """After `rebuild(forget=True)` and a snapshot, a single removed key is neither in memory nor on disk."""
    index, keys_ND = filled_index(600)
    index.remove(consecutive(1, 42))
    index.snapshot(tmp_path, 1)
    assert any(keys_ND[41].tobytes() in path.read_bytes() for path in tmp_path.iterdir())
    index.rebuild(forget=True)
    index.snapshot(tmp_path, 2)
    assert index.stats().dead == 0
    assert not any(keys_ND[41].tobytes() in path.read_bytes() for path in tmp_path.iterdir())


def test_searches_and_writes_go_on_while_rebuilding():
    """Readers never see a removed id or an error while a writer adds, removes and rebuilds follow each other."""
    index, keys_ND = filled_index(600, IN_BACKGROUND)
    gone: set[int] = set()
    stop, problems = threading.Event(), []

    def read():
        rng = np.random.default_rng(threading.get_ident() % 1000)
        while not stop.is_set():
            before = set(gone)
            found = index.search(keys_ND[rng.integers(0, 600, 3)], 6)
            if before & set(found.ids.ravel().tolist()):
                problems.append("a removed id came back")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for step in range(40):
            first = 1000 + 100 * step
            index.add(consecutive(100, first), clustered_keys(100, step))
            removed = np.concatenate([consecutive(60, first), consecutive(5, 1 + 5 * step)])
            index.remove(removed)
            gone.update(removed.tolist())
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    index.settle()
    assert not problems
    assert index.stats().rebuilds >= 1
    assert index.stats().last_error is None
    assert len(index) == 600 - 200 + 40 * 40


def test_a_failed_rebuild_leaves_the_index_as_it_was(monkeypatch):
    """When training raises, answers stay right and the statistics say what happened."""

    def fail(*_):
        raise MemoryError("no memory for training")

    monkeypatch.setattr(ScanTier, "train", fail)
    index, keys_ND = filled_index(400)
    assert "no memory" in str(index.stats().last_error)
    assert index.stats().tier == "flat"
    assert (index.search(keys_ND, 1).ids[:, 0] == consecutive(400)).all()


def test_drift_brings_about_a_rebuild():
    """Keys that the codes do not fit are noticed by their error, and the tier is trained anew."""
    index = KeyIndex(DIM, "l2", dataclasses.replace(SMALL, growth=50.0, least_recall=0.0))
    index.add(consecutive(1000), clustered_keys(1000, 0))
    before = index.stats()
    far_ND = (clustered_keys(3000, 1, clusters=7) * 5 + 20).astype(np.float32)
    for start in range(0, 3000, 250):
        index.add(consecutive(250, 2000 + start), far_ND[start : start + 250])
    after = index.stats()
    assert after.rebuilds > before.rebuilds
    assert after.last_rebuild in {"drift", "imbalance"}
    assert after.trained_on > 1000


def test_imbalance_brings_about_a_rebuild():
    """Keys that all fall into a few lists are noticed by the lists' sizes."""
    config = dataclasses.replace(SMALL, growth=50.0, drift=1e9, imbalance=2.0, least_recall=0.0)
    index, _ = filled_index(2000, config)
    one_ND = unit_keys(1, 3) + 1e-3 * unit_keys(2000, 4)
    one_ND = (one_ND / np.linalg.norm(one_ND, axis=1, keepdims=True)).astype(np.float32)
    for start in range(0, 2000, 100):
        index.add(consecutive(100, 3000 + start), one_ND[start : start + 100])
    assert index.stats().last_rebuild == "imbalance"


def test_a_bulk_load_is_encoded_once():
    """A batch much larger than the index waits for the rebuild it is due for, findable meanwhile."""
    index, _ = filled_index(300, IN_BACKGROUND)
    index.settle()
    keys_ND = clustered_keys(20_000, 8)
    index.add(consecutive(20_000, 1000), keys_ND)
    assert (index.search(keys_ND[::2000], 1).ids[:, 0] == consecutive(20_000, 1000)[::2000]).all()
    index.settle()
    assert index.stats().waiting == 0
    assert index.stats().tier == "lists"


def test_close_stops_a_running_rebuild():
    """Closing does not wait for the whole of a rebuild, nor does the rebuild come back afterwards."""
    work = background.Background()
    go_on, started = threading.Event(), threading.Event()

    def steps():
        while True:
            started.set()
            go_on.wait(0.01)
            yield

    work.start(background.Job("endless", steps(), lambda: pytest.fail("finished")))
    started.wait()
    work.stop()
    assert not work.busy
    assert work.rebuilds == 0


def test_a_search_that_began_before_a_swap_does_not_return_what_was_removed_after():
    """Liveness is asked of the newest table, even by a search that holds an old state."""
    index, _ = filled_index(3000)
    index.remove(consecutive(700))
    old = index._state
    rows_H = np.arange(2000, 2005)
    index.rebuild()
    index.remove(consecutive(2, 2001))
    assert index._state.table is not old.table
    found = answer(old.table, index._state.table, rows_H[None].astype(np.uint64))
    assert found.ids.tolist() == [[2003, 2004, 2005, NO_ID, NO_ID]]


def test_the_self_test_measures_recall_and_low_recall_brings_about_a_rebuild():
    """Recall is measured as the index grows; a tier that lost its way is trained anew."""
    config = dataclasses.replace(SMALL, growth=50.0, drift=1e9, imbalance=1e9)
    index, _ = filled_index(1500, config)
    index.add(consecutive(1, 1600), unit_keys(1, 5))
    assert index.stats().recall is not None
    assert index.stats().recall > 0.9
    index._state.tier.codes.invlists.reset()  # every code is lost
    index.add(consecutive(500, 2000), clustered_keys(500, 3))
    index.add(consecutive(1, 3000), unit_keys(1, 6))
    assert index.stats().last_rebuild == "recall"
    assert index.stats().rebuilds >= 2


def test_a_large_batch_does_not_wait_for_the_next_growth():
    """Rows that would wait unencoded bring about a rebuild of their own."""
    config = dataclasses.replace(SMALL, lists_from=100_000, sample=100_000, growth=1000.0)
    index, _ = filled_index(1000, config)
    keys_ND = clustered_keys(9000, 4)
    index.add(consecutive(9000, 2000), keys_ND)
    assert index.stats().last_rebuild == "bulk load"
    assert index.stats().waiting == 0


def test_short_answers_are_refilled_even_when_candidates_repeat():
    """When the few live candidates of the codes are offered again and again, the rest is still looked for."""
    index, keys_ND = filled_index(
        2000, dataclasses.replace(SMALL, dead_share=0.9, deep=128, first_share=0.01)
    )
    near = index.search(keys_ND[0], 1000, exact=True).ids[0]
    index.remove(near[3:])
    found = index.search(keys_ND[0], 8)
    assert len(set(found.ids[0].tolist())) == 8
