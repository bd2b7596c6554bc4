"""sola stats: what a store holds, and what its serving processes report."""

from pathlib import Path

import pytest

from sola_scale.histogram import Histogram
from sola_scale.lora.occupancy import PagerStats
from sola_scale.serving import Reporter
from tests.cli.conftest import Sola


@pytest.fixture
def served(store: Path) -> Path:
    """The store after a process has served it for a while."""
    times = Histogram()
    times.add(40e-6, 5)
    times.add(3e-3)
    slots = PagerStats(
        hits=70,
        misses=6,
        evictions=2,
        overflows=1,
        resident=4,
        capacity=9,
        slot_bytes=1 << 20,
        page_in=times.snapshot(),
        staging=times.snapshot(),
    )
    reporter = Reporter(store, lambda: slots)
    reporter.decided(32, 0.01)
    reporter.close()
    return store


def test_stats_count_edits_and_bytes(sola: Sola, store: Path) -> None:
    """Counts by status, the model, bytes an edit and of a million such edits."""
    counted = sola("stats", store, "--json").json
    assert counted["model"] == "some-model"
    assert counted["edits"] == 5
    assert counted["store"]["statuses"]["live"] == 4
    assert counted["bytes_per_edit"] > 64
    assert counted["projected_bytes"]["1000000"] > 64_000_000
    assert counted["serving"] == []
    assert "4 live, 1 superseded" in sola("stats", store).out


def test_stats_show_what_serving_processes_report(sola: Sola, served: Path) -> None:
    """Slots and the three histograms of each process, for programs and for people."""
    (report,) = sola("stats", served, "--json").json["serving"]
    assert report["running"] is True
    assert (report["slots"]["hits"], report["slots"]["overflows"]) == (70, 1)
    assert report["routing"]["count"] == 32
    assert sum(report["slots"]["page_in"]["counts"]) == 6
    shown = sola("stats", served).out
    assert "4 of 9 filled" in shown
    assert "70, 6" in shown
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()]
    rows = {row[0]: row[1:] for row in cells if len(row) == 4}
    assert rows["64 µs"] == ["", "5", "5"]
    assert rows["512 µs"] == ["32", "", ""]
    assert rows["4.1 ms"] == ["", "1", "1"]
