"""Figures from pool results."""

import numpy as np
import pytest

from sola_scale.analysis.figures import at_own_thresholds, growth, sweep, table, wilson
from sola_scale.analysis.routing import PoolResult
from sola_scale.analysis.trial import Pool


def _result(name, wanted, target, best, right):
    count = len(best)
    pool = Pool(
        name=name, texts=("x",) * count, facts=np.zeros(count, np.int64), wanted=wanted, target=target
    )
    right = np.array(right, dtype=bool)
    return PoolResult(
        pool=pool,
        best_Q=np.array(best, np.float32),
        right_Q=right,
        first_Q=right,
        kept_Q=right,
        nearest_Q=np.linspace(0.2, 1, count, dtype=np.float32),
        own_Q=np.where(right, 0.4, np.inf).astype(np.float32),
        doubted_Q=~right,
    )


@pytest.fixture
def results():
    rng = np.random.default_rng(0)
    return [
        _result("zsRE paraphrase", "right", 0.9, rng.beta(8, 1, 500), rng.random(500) < 0.95),
        _result("stranger", "silent", 0.01, rng.beta(1, 8, 500), [False] * 500),
    ]


def test_right_pools_count_right_edits_and_silent_pools_any(results):
    """At threshold 0 a right pool fires its share of right edits and a silent pool fires everything."""
    rows = table(results, 0.0)
    assert rows[0]["fires"] == pytest.approx(results[0].right_Q.mean())
    assert rows[0]["fires"] + rows[0]["fires_wrong_edit"] == pytest.approx(1)
    assert rows[1]["fires"] == 1


def test_what_is_read_again_is_counted_at_any_threshold(results):
    """The share of queries that a second look is taken of does not hang on what fires."""
    for threshold in (0.0, 0.5, 1.0):
        shares = [row["read_again"] for row in table(results, threshold)]
        assert shares == [pytest.approx(1 - results[0].right_Q.mean()), 1]


def test_targets_are_floors_for_right_and_ceilings_for_silent(results):
    """At threshold 1 nothing fires: the silent pool reaches its target, the right one does not."""
    rows = table(results, 1.0)
    assert [row["reached"] for row in rows] == [False, True]


def test_the_sweep_never_rises(results):
    """A higher threshold fires no more of anything."""
    for fires in sweep(results)["fires"].values():
        assert (np.diff(fires) <= 0).all()


def test_a_pools_own_threshold_keeps_its_target(results):
    """At the threshold of a silent pool it fires no more than its target."""
    row = at_own_thresholds(results)[0]
    assert results[1].fired(row["threshold"]) <= 0.01
    assert set(row["fires"]) == {"zsRE paraphrase"}


def test_the_trend_goes_on_where_the_rows_lead(results):
    """Rates that do not change with the store are extrapolated to themselves."""
    near = np.full(100, 0.8, np.float32)
    figures = growth([1000, 3000, 10_000], [results] * 3, [near] * 3, 0.5)
    share = results[0].fired(0.5)
    assert figures["at_1M"]["pools"]["zsRE paraphrase"]["fires"] == pytest.approx(share, abs=1e-6)
    assert figures["rows"][0]["collision_rate"] == 0


def test_wilson_interval_holds_the_share():
    """The interval lies in [0, 1], holds the share, and narrows with more queries."""
    for share in (0.0, 0.001, 0.5, 1.0):
        few, many = wilson(share, 50), wilson(share, 5000)
        assert 0 <= few[0] <= share <= few[1] <= 1
        assert many[1] - many[0] < few[1] - few[0]
