"""Reports of serving processes: written beside the store, read by whoever asks, never in the way."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from sola_scale import serving
from sola_scale.histogram import Histogram
from sola_scale.lora.occupancy import PagerStats
from sola_scale.serving import FOLDER, Reporter, ServingReport, reports


def occupancy(**numbers: int) -> PagerStats:
    """Slots with something in them."""
    page_in = Histogram()
    page_in.add(50e-6, 3)
    counts = {
        "hits": 1,
        "misses": 3,
        "evictions": 0,
        "overflows": 0,
        "resident": 3,
        "capacity": 8,
        "slot_bytes": 64,
    }
    return PagerStats(**{**counts, **numbers}, page_in=page_in.snapshot(), staging=page_in.snapshot())


def test_what_is_told_can_be_read(tmp_path: Path) -> None:
    """A report comes back as it was written, from a process that is there."""
    reporter = Reporter(tmp_path, occupancy)
    reporter.decided(4, 0.002)
    reporter.close()
    (report,) = reports(tmp_path)
    assert (report.pid, report.running, report.slots) == (os.getpid(), True, occupancy())
    assert (report.routing.count, report.routing) == (4, reporter.routing)
    assert report.routing.quantile(0.5) == 512.0


def test_who_routed_nothing_tells_nothing(tmp_path: Path) -> None:
    """Opening and closing leaves no file."""
    Reporter(tmp_path, occupancy).close()
    assert not (tmp_path / FOLDER).exists()


def test_it_reports_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its last report is old enough, the next decision writes a new one; before that, none."""
    monkeypatch.setattr(serving, "_EVERY_SECONDS", 1e9)
    reporter = Reporter(tmp_path, occupancy)
    reporter.decided(1, 0.001)
    assert reports(tmp_path) == []
    monkeypatch.setattr(serving, "_EVERY_SECONDS", -1.0)
    reporter = Reporter(tmp_path, occupancy)
    reporter.decided(1, 0.001)
    assert reports(tmp_path)[0].routing.count == 1
    reporter.decided(1, 0.001)
    assert reports(tmp_path)[0].routing.count == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """A reader without the right to write serves all the same."""
    (tmp_path / FOLDER).write_text("not a folder")
    reporter = Reporter(tmp_path, occupancy)
    reporter.decided(1, 0.001)
    reporter.close()
    assert reports(tmp_path) == []


def test_the_oldest_of_the_dead_are_forgotten(tmp_path: Path) -> None:
    """Reports of processes that are gone do not pile up; those of other machines and living ones stay."""
    reporter = Reporter(tmp_path, occupancy)
    reporter.decided(1, 0.001)
    reporter.write()
    (mine,) = reports(tmp_path)
    gone = 4_194_304  # beyond the greatest process id there is
    for age in range(1, 12):
        old = msgspec.structs.replace(mine, pid=gone + age, at=age)
        (tmp_path / FOLDER / f"old-{age}.json").write_bytes(msgspec.json.encode(old))
    elsewhere = msgspec.structs.replace(mine, host="elsewhere", at=0)
    (tmp_path / FOLDER / "elsewhere.json").write_bytes(msgspec.json.encode(elsewhere))
    assert [one.running for one in reports(tmp_path)] == [True, *[False] * 11, None]
    reporter.write()
    assert [one.at for one in reports(tmp_path)[1:]] == [11, 10, 9, 8, 7, 6, 5, 0]


def test_what_is_no_report_is_passed_over(tmp_path: Path) -> None:
    """Half a file, or another program's, hides no other report."""
    reporter = Reporter(tmp_path, occupancy)
    reporter.decided(1, 0.001)
    reporter.write()
    whole = next((tmp_path / FOLDER).glob("*.json")).read_bytes()
    (tmp_path / FOLDER / "half.json").write_bytes(whole[:50])
    (tmp_path / FOLDER / "other.json").write_bytes(b"[1, 2]")
    assert len(reports(tmp_path)) == 1


def test_a_report_holds_numbers_only(tmp_path: Path) -> None:
    """What is purged must not live on in a report: it has no field for a text but the machine's name."""
    reporter = Reporter(tmp_path, lambda: replace(occupancy(), resident=2))
    reporter.decided(1, 0.001)
    reporter.write()
    fields = {field.name: field.type for field in msgspec.structs.fields(ServingReport)}
    assert [name for name, kind in fields.items() if kind is str] == ["host"]
