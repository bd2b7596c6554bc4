"""Snapshots: durable, replaced as a whole, never believed when damaged."""

import json
import shutil
import warnings

import numpy as np
import pytest

from sola_index import KeyIndex, SnapshotError, SnapshotWarning, files, load_or_rebuild, snapshot
from sola_index.testing.conformance import consecutive
from tests.index.helpers import DIM, SMALL, clustered_keys, filled_index


@pytest.fixture
def saved(tmp_path):
    """An index in the lists tier and the folder it was saved to."""
    index, keys_ND = filled_index(900)
    index.remove(consecutive(1, 5))
    index.snapshot(tmp_path / "snap", 77)
    return index, keys_ND, tmp_path / "snap"


def test_a_loaded_index_answers_as_the_saved_one_did(saved):
    """Search, tier and statistics survive a round trip without retraining."""
    index, keys_ND, folder = saved
    again, lsn = KeyIndex.load(folder, SMALL)
    assert lsn == 77
    assert again.stats().tier == index.stats().tier == "lists"
    assert again.stats().rebuilds == 0
    found, truth = again.search(keys_ND, 5), index.search(keys_ND, 5)
    np.testing.assert_array_equal(found.ids, truth.ids)
    np.testing.assert_array_equal(found.distances, truth.distances)


def test_every_truncation_is_detected(saved, tmp_path):
    """A file cut short anywhere makes the snapshot unreadable, never half-read."""
    _, _, folder = saved
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        size = path.stat().st_size
        for keep in {0, size - 1, int(rng.integers(0, size))}:
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            with (copy / path.name).open("r+b") as file:
                file.truncate(keep)
            with pytest.raises(SnapshotError):
                KeyIndex.load(copy, SMALL)
            shutil.rmtree(copy)


def test_bit_flips_are_detected_in_every_file(saved, tmp_path):
    """Flipping one bit of any file, at many places, is always noticed."""
    _, _, folder = saved
    rng = np.random.default_rng(1)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for bit in rng.integers(0, 8 * len(content), 12).tolist():
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            (copy / path.name).write_bytes(flipped)
            with pytest.raises(SnapshotError):
                KeyIndex.load(copy, SMALL)
            shutil.rmtree(copy)


def test_a_missing_file_is_detected(saved):
    """A manifest that names a file that is gone is an error."""
    _, _, folder = saved
    next(folder.glob("*.tier-codes")).unlink()
    with pytest.raises(SnapshotError):
        KeyIndex.load(folder, SMALL)


@pytest.mark.parametrize(
    ("field", "value"),
    [("version", snapshot.VERSION + 1), ("format", "other"), ("dim", 0), ("metric", "dot")],
)
def test_other_versions_and_formats_are_refused(saved, field, value):
    """A well-sealed manifest of another version, format, width or metric is refused by name."""
    _, _, folder = saved
    payload = files.read_manifest(folder, snapshot.MANIFEST)
    files.write_manifest(folder, snapshot.MANIFEST, {**payload, field: value})
    with pytest.raises(SnapshotError):
        KeyIndex.load(folder, SMALL)


def test_a_file_name_cannot_leave_the_folder(saved, tmp_path):
    """A manifest that names a file elsewhere finds nothing there."""
    _, _, folder = saved
    payload = files.read_manifest(folder, snapshot.MANIFEST)
    payload["files"]["ids"][0] = "../" + payload["files"]["ids"][0]
    shutil.move(next(folder.glob("*.ids")), tmp_path)
    files.write_manifest(folder, snapshot.MANIFEST, payload)
    with pytest.raises(SnapshotError):
        KeyIndex.load(folder, SMALL)


@pytest.mark.parametrize("fail_at", ["write_sealed", "write_manifest"])
def test_a_crash_while_writing_leaves_the_earlier_snapshot(saved, monkeypatch, fail_at):
    """Whatever step of a snapshot fails, the one before it still loads; the next one works and tidies up."""
    index, _, folder = saved

    def fail(*_):
        raise OSError("no space left on device")

    index.add(consecutive(1, 901), clustered_keys(1, 5))
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, fail_at, fail)
        with pytest.raises(OSError, match="no space"):
            index.snapshot(folder, 78)
    again, lsn = KeyIndex.load(folder, SMALL)
    assert (lsn, len(again)) == (77, 899)
    index.snapshot(folder, 79)
    assert KeyIndex.load(folder, SMALL)[1] == 79
    stems = {path.name.split(".")[0] for path in folder.glob("g*")}
    assert len(stems) == 1


def test_a_manifest_that_was_not_renamed_counts_for_nothing(saved):
    """Half a rename, the temporary manifest alone, is no snapshot."""
    _, _, folder = saved
    (folder / snapshot.MANIFEST).rename(folder / f"{snapshot.MANIFEST}.tmp")
    with pytest.raises(SnapshotError):
        KeyIndex.load(folder, SMALL)


def test_the_base_is_not_written_again(saved):
    """After loading, a snapshot of a few more rows keeps the mapped key file and writes a small one beside it."""
    _, _, folder = saved
    base = next(folder.glob("*.keys"))
    index, _ = KeyIndex.load(folder, SMALL)
    more_ND = clustered_keys(40, 6)
    index.add(consecutive(40, 1000), more_ND)
    index.remove(consecutive(1, 1001))
    index.snapshot(folder, 90)
    assert base.exists()
    assert min(path.stat().st_size for path in folder.glob("*.keys")) == 40 * DIM * 4
    again, lsn = KeyIndex.load(folder, SMALL)
    assert lsn == 90
    np.testing.assert_array_equal(again.ids, index.ids)
    np.testing.assert_array_equal(again.keys_of(consecutive(1, 1039)), more_ND[39:])
    assert 1001 not in again


def test_a_mapped_index_survives_its_files_being_replaced(saved, tmp_path):
    """An index keeps answering after a newer snapshot has removed the file its keys are mapped from."""
    _, keys_ND, folder = saved
    reader, _ = KeyIndex.load(folder, SMALL)
    writer, _ = KeyIndex.load(folder, SMALL)
    writer.rebuild()
    writer.add(consecutive(2000, 1000), clustered_keys(2000, 7))
    writer.snapshot(folder, 91)
    assert (reader.search(keys_ND[:4], 1).ids[:, 0] == consecutive(4)).all()
    reader.snapshot(tmp_path / "elsewhere", 92)
    assert len(KeyIndex.load(tmp_path / "elsewhere", SMALL)[0]) == len(reader)


def test_snapshots_contain_no_code_that_could_run(saved):
    """The manifest is JSON and the rest plain arrays: nothing is unpickled."""
    _, _, folder = saved
    outer = json.loads((folder / snapshot.MANIFEST).read_text())
    assert set(outer) == {"sha256", "body"}


def test_a_damaged_snapshot_is_rebuilt_from_the_keys_with_a_warning(saved):
    """`load_or_rebuild` answers damage with the source's keys and their sequence number."""
    _, keys_ND, folder = saved
    next(folder.glob("*.live")).write_bytes(b"x")
    with pytest.warns(SnapshotWarning, match="rebuilding"):
        index, lsn = load_or_rebuild(folder, lambda: ([(consecutive(900), keys_ND)], 80), DIM, config=SMALL)
    assert lsn == 80
    assert (index.search(keys_ND, 1).ids[:, 0] == consecutive(900)).all()


def test_a_sound_snapshot_is_loaded_without_asking_for_keys(saved):
    """The source is not called, and nothing is warned of, when the snapshot is sound."""
    _, _, folder = saved

    def source():
        raise AssertionError("not needed")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index, lsn = load_or_rebuild(folder, source, DIM, config=SMALL)
    assert (lsn, len(index)) == (77, 899)


def test_a_snapshot_of_other_keys_is_rebuilt(saved):
    """A snapshot of another width is not used, however sound."""
    _, _, folder = saved
    with pytest.warns(SnapshotWarning, match="width"):
        index, lsn = load_or_rebuild(folder, lambda: ([], 3), DIM + 1, config=SMALL)
    assert (lsn, len(index), index.dim) == (3, 0, DIM + 1)
