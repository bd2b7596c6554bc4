"""Conformance: the log, calibrations, blobs, settings and care."""

from collections.abc import Iterator

import numpy as np
import pytest

from sola_scale.errors import (
    EditStateError,
    LogTruncatedError,
    RequestError,
    StoreClosedError,
)
from sola_scale.store.contract import Store
from sola_scale.store.records import EditStatus, KeyRows
from sola_scale.store.testing.samples import (
    active,
    follow,
    sample_edit,
    sample_keys,
    state_of,
)

LIVE, SUPERSEDED, REVOKED = EditStatus.LIVE, EditStatus.SUPERSEDED, EditStatus.REVOKED
PURGED, QUARANTINED = EditStatus.PURGED, EditStatus.QUARANTINED


class UpkeepSuite:
    """Following the log, exchanging keys, keeping blobs, closing."""

    def test_log_numbers_every_transaction(self, store: Store) -> None:
        """The log has one entry a transaction, numbered without gaps."""
        store.write([sample_edit(1), sample_edit(2)])
        store.revoke([1])
        store.restore([1])
        store.quarantine([2], "why")
        store.purge([1, 2])
        entries = store.log()
        assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
        assert [str(entry.operation) for entry in entries] == [
            "write",
            "revoke",
            "restore",
            "quarantine",
            "purge",
        ]
        assert store.log(after=3, limit=1) == entries[3:4]
        assert store.log(after=5) == []

    def test_following_the_log_keeps_an_index_right(self, store: Store) -> None:
        """Applying `changes` from any point reaches the same keys as loading them all."""
        held: dict[int, tuple[int, bytes]] = {}
        follow(held, [store.write([sample_edit(n, rows=2) for n in range(1, 6)])])
        after = store.last_seq
        store.revoke([1, 2])
        store.write([sample_edit(6, supersedes=3), sample_edit(7)])
        store.restore([1])
        store.purge([6])
        follow(held, store.changes(after))
        assert held == active(store)
        afresh: dict[int, tuple[int, bytes]] = {}
        follow(afresh, store.changes(0))
        assert afresh == held

    def test_truncated_log(self, store: Store) -> None:
        """Truncation moves the low-water mark; asking below it is refused; the newest entry stays."""
        for number in range(1, 6):
            store.write([sample_edit(number)])
        assert store.truncate_log(before=3) == 2
        assert store.low_water == 2
        assert [entry.seq for entry in store.log(after=2)] == [3, 4, 5]
        for ask in (store.log, store.changes):
            with pytest.raises(LogTruncatedError):
                ask(1)
        assert store.truncate_log(before=3) == 0
        assert store.truncate_log(before=100) == 2
        assert (store.last_seq, store.low_water) == (5, 4)
        assert store.write([sample_edit(6)]).last_seq == 6

    def test_recalibration_exchanges_all_keys(self, store: Store) -> None:
        """All edits get new keys of new widths, live ones fresh key ids, and the blobs come in the same step."""
        store.write([sample_edit(n) for n in range(1, 6)])
        store.revoke([2])
        store.purge([3])
        old = set(active(store))
        rows = {
            n: KeyRows(np.full((2, 3), n, np.float16), np.full((2, 5), n, np.float16)) for n in (1, 2, 4, 5)
        }
        transition = store.recalibrate(9, rows.items(), {"calibration/9": b"nine"})
        assert transition.rebuild
        assert store.calibration == 9
        assert store.blob("calibration/9") == b"nine"
        held = active(store)
        assert not old & set(held)
        assert sorted(owner for owner, _ in held.values()) == [1, 1, 4, 4, 5, 5]
        assert store.changes(transition.last_seq - 1)[0].rebuild
        found, owners = store.verification(np.array(sorted(held), dtype=np.uint64))
        assert found[:, 0].tolist() == owners.tolist()
        store.restore([2])
        assert np.array_equal(store.keys(2).retrieval, rows[2].retrieval)
        store.write([sample_edit(6, keys=rows[5], calibration=9)])

    def test_recalibration_without_all_rows_keeps_the_old_keys(self, store: Store) -> None:
        """An edit without new keys refuses the exchange; the old keys serve on."""
        store.write([sample_edit(1), sample_edit(2)])
        before = state_of(store)
        with pytest.raises(EditStateError, match="edit 2"):
            store.recalibrate(9, [(1, sample_keys(11))], {"calibration/9": b"nine"})
        assert state_of(store) == before

    def test_recalibration_that_is_interrupted_keeps_the_old_keys(self, store: Store) -> None:
        """An error while rows are computed leaves everything as it was, and the next attempt succeeds."""
        store.write([sample_edit(1), sample_edit(2)])
        before = state_of(store)

        def failing() -> Iterator[tuple[int, KeyRows]]:
            yield 1, sample_keys(11)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            store.recalibrate(9, failing())
        assert state_of(store) == before
        store.recalibrate(9, [(n, sample_keys(n + 10)) for n in (1, 2)])
        assert np.array_equal(store.keys(2).retrieval, sample_keys(12).retrieval)

    def test_edits_written_during_a_recalibration(self, store: Store) -> None:
        """Writes go on while keys are recomputed, and the rows may come for them, too."""
        store.write([sample_edit(1)])

        def rows() -> Iterator[tuple[int, KeyRows]]:
            yield 1, sample_keys(11)
            store.write([sample_edit(2)])
            yield 2, sample_keys(12)

        store.recalibrate(1, rows())
        assert sorted(owner for owner, _ in active(store).values()) == [1, 2]

    def test_blobs(self, store: Store) -> None:
        """Named byte strings are stored, replaced, listed and deleted together."""
        store.put_blobs({"a": b"1", "b": b"22"})
        store.put_blobs({"a": b"333", "b": None, "c": b""})
        assert store.blobs() == {"a": 3, "c": 0}
        assert store.blob("a") == b"333"
        store.put_blob("d", bytes(100_000))
        assert store.blob("d") == bytes(100_000)
        with pytest.raises(KeyError):
            store.blob("b")
        with pytest.raises(RequestError):
            store.put_blobs({"ok": b"", "": b""})
        assert "ok" not in store.blobs()

    def test_settings(self, store: Store) -> None:
        """Settings are JSON-like values, changed together."""
        assert store.settings() == {}
        store.put_settings({"threshold": 0.5, "views": [1, 2], "name": "x"})
        store.put_settings({"threshold": 0.7, "name": None})
        assert store.settings() == {"threshold": 0.7, "views": [1, 2]}
        with pytest.raises(RequestError):
            store.put_settings({"bad": object()})

    def test_stats(self, store: Store) -> None:
        """Counts by status and the bytes that were given."""
        store.write([sample_edit(n, size=1000) for n in range(1, 11)])
        store.revoke([1])
        store.purge([2])
        stats = store.stats()
        assert stats.edits == 10
        assert (stats.statuses[LIVE], stats.statuses[REVOKED], stats.statuses[PURGED]) == (8, 1, 1)
        assert stats.active_keys == 8
        assert stats.payload["weights"] == 9_000
        assert stats.payload["retrieval"] == 9 * sample_keys(1).retrieval.nbytes
        assert stats.projected_bytes(100) == pytest.approx(
            stats.fixed_bytes + stats.bytes_per_edit * 100, abs=1
        )

    def test_sound_store_verifies(self, store: Store) -> None:
        """Nothing is wrong with a store that went through everything."""
        store.write([sample_edit(n, rows=2) for n in range(1, 70)])
        store.write([sample_edit(70, supersedes=1), sample_edit(71, supersedes=70)])
        store.revoke([71, 3])
        store.purge([4, 70])
        store.quarantine([5], "why")
        store.put_blob("a", b"1")
        store.put_settings({"b": 1})
        store.truncate_log(2)
        report = store.verify()
        assert report.damages == []
        assert report.edits == 71

    def test_refresh_tells_the_newest_entry(self, store: Store) -> None:
        """`refresh` returns the newest sequence number."""
        assert store.refresh() == 0
        store.write([sample_edit(1)])
        assert store.refresh() == 1

    def test_closed_store_refuses(self, store: Store) -> None:
        """A closed store says so, and may be closed again."""
        store.write([sample_edit(1)])
        store.close()
        store.close()
        for use in (lambda: store.last_seq, lambda: store.record(1), lambda: store.write([sample_edit(2)])):
            with pytest.raises(StoreClosedError):
                use()
