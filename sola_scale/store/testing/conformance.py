"""The conformance suite: what every store does, whatever holds it."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sola_scale.errors import (
    CalibrationError,
    EditStateError,
    LogTruncatedError,
    RequestError,
    StoreClosedError,
    UnknownEditError,
)
from sola_scale.store.contract import Store
from sola_scale.store.records import EditFilter, EditStatus, KeyRows, Operation
from sola_scale.store.testing.samples import (
    active,
    contents,
    follow,
    sample_edit,
    sample_keys,
    sample_weights,
    state_of,
)

LIVE, SUPERSEDED, REVOKED = EditStatus.LIVE, EditStatus.SUPERSEDED, EditStatus.REVOKED
PURGED, QUARANTINED = EditStatus.PURGED, EditStatus.QUARANTINED


class StoreConformance:
    """Subclass it as `Test…` and give `new_store`; all tests use the contract alone."""

    @abstractmethod
    def new_store(self, folder: Path) -> Store:
        """A fresh store with the sample manifest; `folder` is empty and may be used."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """A fresh store."""
        with self.new_store(tmp_path / "store") as store:
            yield store

    # --- writing -------------------------------------------------------------------------------------------

    def test_written_edit_reads_back(self, store: Store) -> None:
        """Everything given to `write` is in the record, the weights and the keys."""
        given = sample_edit(1, rows=3, paraphrases=("a", "b"), size=5_000)
        (edit_id,) = store.write([given]).edit_ids
        record = store.record(edit_id)
        assert (record.prompt, record.target, record.paraphrases) == (given.prompt, given.target, ("a", "b"))
        assert (record.tags, record.source, record.details) == (given.tags, given.source, given.details)
        assert store.weights([edit_id]) == [given.weights]
        keys = store.keys(edit_id)
        assert np.array_equal(keys.retrieval, given.keys.retrieval)
        assert np.array_equal(keys.verification, given.keys.verification)
        assert keys.retrieval.dtype == given.keys.retrieval.dtype

    def test_ids_count_from_one(self, store: Store) -> None:
        """Edit ids are given in the order of the batch, from 1 on, and announced by `next_edit_id`."""
        assert store.next_edit_id == 1
        assert store.write([sample_edit(n) for n in range(3)]).edit_ids == (1, 2, 3)
        assert store.write([sample_edit(3)]).edit_ids == (4,)
        assert store.next_edit_id == 5

    def test_ids_are_never_reused(self, store: Store) -> None:
        """A purged edit's id and keys are not given again, not even after a compaction."""
        store.write([sample_edit(1), sample_edit(2)])
        before = {key for edit_id in (1, 2) for key in store.record(edit_id).key_ids}
        store.purge([1, 2])
        store.compact()
        assert store.write([sample_edit(3)]).edit_ids == (3,)
        assert not before & set(store.record(3).key_ids)

    def test_transition_of_a_write_names_new_keys(self, store: Store) -> None:
        """A write tells the index which keys to add, with their vectors."""
        transition = store.write([sample_edit(1, rows=2), sample_edit(2)])
        assert [a.edit_id for a in transition.activated] == [1, 2]
        assert [len(a.key_ids) for a in transition.activated] == [2, 1]
        assert np.array_equal(transition.activated[0].retrieval, sample_keys(1, 2).retrieval)
        assert transition.deactivated.tolist() == []
        assert transition.last_seq == store.last_seq == 1

    def test_empty_batch_changes_nothing(self, store: Store) -> None:
        """Writing no edits leaves no log entry."""
        assert store.write([]).edit_ids == ()
        assert store.last_seq == 0

    @pytest.mark.parametrize(
        "bad",
        [
            {"prompt": ""},
            {"target": ""},
            {"prompt": "\ud800"},
            {"weights": b""},
            {"keys": KeyRows(np.zeros((0, 8), np.float32), np.zeros((0, 12), np.float16))},
            {"keys": KeyRows(np.full((1, 8), np.nan, np.float32), np.zeros((1, 12), np.float16))},
            {"keys": KeyRows(np.zeros((1, 8), np.float32), np.full((1, 12), np.inf, np.float16))},
            {"keys": KeyRows(np.zeros((1, 8), np.float64), np.zeros((1, 12), np.float16))},
            {"keys": KeyRows(np.zeros((2, 8), np.float32), np.zeros((1, 12), np.float16))},
            {"keys": KeyRows(np.zeros(8, np.float32), np.zeros(12, np.float16))},
            {"details": {"loss": object()}},
            {"tags": ("x" * (1 << 21),)},
        ],
    )
    def test_bad_edit_is_refused_whole(self, store: Store, bad: dict[str, Any]) -> None:
        """One malformed edit refuses its batch, and the store is as before."""
        store.write([sample_edit(1)])
        before = state_of(store)
        with pytest.raises(RequestError):
            store.write([sample_edit(2), sample_edit(3, **bad)])
        assert state_of(store) == before

    def test_keys_of_another_calibration_are_refused(self, store: Store) -> None:
        """All keys of a store are of one calibration and one layout."""
        store.write([sample_edit(1, calibration=4)])
        assert store.calibration == 4
        with pytest.raises(CalibrationError, match="calibration 5"):
            store.write([sample_edit(2, calibration=5)])
        wider = KeyRows(np.zeros((1, 9), np.float32), np.zeros((1, 12), np.float16))
        with pytest.raises(CalibrationError):
            store.write([sample_edit(2, calibration=4, keys=wider)])

    # --- chains --------------------------------------------------------------------------------------------

    def test_superseding_takes_over(self, store: Store) -> None:
        """A superseding edit is live, its predecessor's keys leave the index."""
        store.write([sample_edit(1)])
        old_keys = store.record(1).key_ids
        transition = store.write([sample_edit(2, supersedes=1)])
        assert transition.deactivated.tolist() == list(old_keys)
        assert [a.edit_id for a in transition.activated] == [2]
        assert [store.record(n).status for n in (1, 2)] == [SUPERSEDED, LIVE]
        assert store.chain(1) == store.chain(2) == [1, 2]
        assert store.record(2).supersedes == store.record(2).chain == 1

    def test_superseding_within_a_batch(self, store: Store) -> None:
        """An edit may supersede one of its own batch; only the last ever gets keys."""
        transition = store.write([sample_edit(1), sample_edit(2, supersedes=1), sample_edit(3, supersedes=2)])
        assert [a.edit_id for a in transition.activated] == [3]
        assert [store.record(n).status for n in (1, 2, 3)] == [SUPERSEDED, SUPERSEDED, LIVE]

    def test_superseding_an_unknown_edit_is_refused(self, store: Store) -> None:
        """An edit cannot supersede one that does not exist, nor itself."""
        for target in (7, 1, 0):
            with pytest.raises(UnknownEditError):
                store.write([sample_edit(1, supersedes=target)])
        assert store.next_edit_id == 1
        assert store.last_seq == 0

    def test_revoking_the_newest_brings_back_its_predecessor(self, store: Store) -> None:
        """The newest eligible edit of a chain is live, whichever was stopped before."""
        store.write([sample_edit(1)])
        store.write([sample_edit(2, supersedes=1)])
        store.write([sample_edit(3, supersedes=1)])
        transition = store.revoke([3])
        assert [a.edit_id for a in transition.activated] == [2]
        assert [store.record(n).status for n in (1, 2, 3)] == [SUPERSEDED, LIVE, REVOKED]
        store.revoke([2])
        assert [store.record(n).status for n in (1, 2, 3)] == [LIVE, REVOKED, REVOKED]
        transition = store.restore([3])
        assert [a.edit_id for a in transition.activated] == [3]
        assert [store.record(n).status for n in (1, 2, 3)] == [SUPERSEDED, REVOKED, LIVE]
        store.restore([2])
        assert [store.record(n).status for n in (1, 2, 3)] == [SUPERSEDED, SUPERSEDED, LIVE]

    def test_revoking_a_superseded_edit_keeps_it_from_coming_back(self, store: Store) -> None:
        """A revoked predecessor is passed over."""
        store.write([sample_edit(n, supersedes=n - 1 or None) for n in (1, 2, 3)])
        assert store.revoke([2]).activated == ()
        store.revoke([3])
        assert [store.record(n).status for n in (1, 2, 3)] == [LIVE, REVOKED, REVOKED]

    # --- revoke, restore, purge, quarantine ----------------------------------------------------------------

    def test_each_activation_gets_fresh_keys(self, store: Store) -> None:
        """A restored edit has key ids that no edit had before."""
        store.write([sample_edit(1, rows=2)])
        first = store.record(1).key_ids
        store.revoke([1])
        assert store.record(1).key_ids == ()
        store.restore([1])
        again = store.record(1).key_ids
        assert len(again) == 2
        assert min(again) > max(first)

    def test_revoking_many_is_one_transaction(self, store: Store) -> None:
        """A list of ids is one log entry, however long."""
        store.write([sample_edit(n) for n in range(300)])
        transition = store.revoke(range(1, 251))
        assert len(transition.deactivated) == len(transition.edit_ids) == 250
        assert store.last_seq == 2
        assert store.stats().statuses[REVOKED] == 250

    def test_unknown_id_changes_nothing(self, store: Store) -> None:
        """An unknown id among known ones raises before anything changes."""
        store.write([sample_edit(1)])
        before = state_of(store)
        for verb in (store.revoke, store.restore, store.purge, lambda ids: store.quarantine(ids, "why")):
            for unknown in (2, 0, -1, 1 << 64):
                with pytest.raises(UnknownEditError):
                    verb([1, unknown])
        assert state_of(store) == before

    def test_asking_twice_changes_nothing(self, store: Store) -> None:
        """What is so already leaves no log entry and no history."""
        store.write([sample_edit(n) for n in range(4)])
        store.revoke([1])
        store.purge([2])
        store.quarantine([3], "bad")
        before = state_of(store)
        for transition in (
            store.revoke([1, 2, 1]),
            store.purge([2]),
            store.quarantine([3], "worse"),
            store.restore([4]),
        ):
            assert transition.edit_ids == ()
            assert transition.last_seq == 4
        assert state_of(store) == before

    def test_purge_erases(self, store: Store) -> None:
        """A purged edit keeps its id and dates, and nothing else."""
        store.write([sample_edit(1, paraphrases=("p",)), sample_edit(2)])
        store.quarantine([1], "a reason with a name in it")
        created = store.record(1).created_at
        store.purge([1])
        record = store.record(1)
        assert (record.status, record.prompt, record.target, record.paraphrases) == (PURGED, "", "", ())
        assert (record.tags, record.source, record.details) == ((), None, {})
        assert record.created_at == created
        assert {event.note for event in record.history} == {""}
        assert store.find_prompt("The capital of land 1 is") == []
        assert store.find_prompt("") == []
        for read in (lambda: store.weights([1]), lambda: store.keys(1), lambda: store.restore([1])):
            with pytest.raises(EditStateError):
                read()
        with pytest.raises(EditStateError):
            store.quarantine([1], "late")
        assert store.weights([2]) == [sample_weights(2)]

    def test_purging_the_newest_brings_back_its_predecessor(self, store: Store) -> None:
        """A purged edit stays in its chain and is passed over."""
        store.write([sample_edit(1), sample_edit(2, supersedes=1)])
        transition = store.purge([2])
        assert [a.edit_id for a in transition.activated] == [1]
        store.write([sample_edit(3, supersedes=2)])
        assert store.chain(3) == [1, 2, 3]
        assert [store.record(n).status for n in (1, 2, 3)] == [SUPERSEDED, PURGED, LIVE]

    def test_quarantine_stops_and_says_why(self, store: Store) -> None:
        """A quarantined edit has no keys in the index; its history tells the reason; restore brings it back."""
        store.write([sample_edit(1)])
        transition = store.quarantine([1], "checksum")
        assert len(transition.deactivated) == 1
        record = store.record(1)
        assert record.status is QUARANTINED
        assert (record.history[-1].operation, record.history[-1].note) == (Operation.QUARANTINE, "checksum")
        store.restore([1])
        assert store.record(1).status is LIVE

    def test_history_tells_everything(self, store: Store) -> None:
        """Each edit's history lists what was asked of it and what its chain did to it, in order."""
        store.write([sample_edit(1)])
        store.write([sample_edit(2, supersedes=1)])
        store.revoke([2])
        store.restore([2])
        told = [(event.operation, event.note) for event in store.record(1).history]
        write, supersede, resume = Operation.WRITE, Operation.SUPERSEDE, Operation.RESUME
        assert told == [(write, ""), (supersede, "2"), (resume, ""), (supersede, "2")]
        assert [event.seq for event in store.record(1).history] == [1, 2, 3, 4]
        assert [event.operation for event in store.record(2).history] == [
            write,
            Operation.REVOKE,
            Operation.RESTORE,
        ]

    def test_revoked_weights_stay_readable(self, store: Store) -> None:
        """A revoked edit can still be looked at and exported."""
        store.write([sample_edit(1)])
        before = contents(store, 1)
        store.revoke([1])
        assert contents(store, 1) == before

    # --- records -------------------------------------------------------------------------------------------

    def test_filters(self, store: Store) -> None:
        """Records are selected by every given condition, ascending by id."""
        store.write([sample_edit(n) for n in range(1, 13)])
        store.revoke([2, 4])

        def ids(**conditions: object) -> list[int]:
            return [record.id for record in store.records(EditFilter(**conditions))]  # type: ignore[arg-type]

        assert ids() == list(range(1, 13))
        assert ids(status=(REVOKED,)) == [2, 4]
        assert ids(tags=("even",), status=(LIVE,)) == [6, 8, 10, 12]
        assert ids(source="file-0") == [3, 6, 9, 12]
        assert ids(prompt_contains="LAND 1 ") == [1]
        assert ids(ids=(5, 3, 99, 0)) == [3, 5]
        assert ids(after_id=10) == [11, 12]
        assert ids(limit=2) == [1, 2]
        assert ids(limit=0) == []
        assert ids(ids=(3, 5, 7), limit=2) == [3, 5]
        assert ids(prompt_contains="nowhere") == []

    def test_filter_by_time(self, store: Store) -> None:
        """`since` is included, `until` is not."""
        for number in range(1, 4):
            store.write([sample_edit(number)])
        middle = store.record(2).created_at
        assert [r.id for r in store.records(EditFilter(since=middle))] == [2, 3]
        assert [r.id for r in store.records(EditFilter(until=middle))] == [1]

    def test_listing_goes_on_while_the_store_changes(self, store: Store) -> None:
        """A listing that is under way holds no transaction and sees edits written behind its back."""
        store.write([sample_edit(n) for n in range(1500)])
        listing = store.records()
        assert next(listing).id == 1
        store.write([sample_edit(1500)])
        store.compact()
        assert [record.id for record in listing][-1] in (1500, 1501)

    def test_find_prompt(self, store: Store) -> None:
        """Exactly equal prompts are found, whatever their edits' status but purged."""
        store.write([sample_edit(1), sample_edit(2), sample_edit(3, prompt="The capital of land 1 is")])
        store.revoke([1])
        assert store.find_prompt("The capital of land 1 is") == [1, 3]
        assert store.find_prompt("the capital of land 1 is") == []
        store.purge([3])
        assert store.find_prompt("The capital of land 1 is") == [1]

    def test_unknown_edit(self, store: Store) -> None:
        """Reading an edit that does not exist says so."""
        for read in (store.record, store.chain, store.keys, lambda edit_id: store.weights([edit_id])):
            with pytest.raises(UnknownEditError, match="no edit 5"):
                read(5)

    # --- weights and keys ----------------------------------------------------------------------------------

    def test_weights_come_in_the_order_asked(self, store: Store) -> None:
        """Weights of any size and order, repeated ids included."""
        store.write([sample_edit(n, size=1 + 997 * n) for n in range(1, 80)])
        asked = [70, 1, 33, 33, 32]
        assert store.weights(asked) == [sample_weights(n, 1 + 997 * n) for n in asked]

    def test_read_weights_shows_views(self, store: Store) -> None:
        """The visitor gets each id with a read-only view of its weights."""
        store.write([sample_edit(n) for n in range(1, 4)])
        seen: list[tuple[int, bytes, bool]] = []
        store.read_weights([3, 1], lambda edit_id, view: seen.append((edit_id, bytes(view), view.readonly)))
        assert seen == [(3, sample_weights(3), True), (1, sample_weights(1), True)]

    def test_verification_rows_and_owners(self, store: Store) -> None:
        """Each key id leads to its own row and its edit."""
        store.write([sample_edit(1, rows=3), sample_edit(2)])
        keys = np.array([*store.record(2).key_ids, *store.record(1).key_ids], dtype=np.uint64)
        rows, owners = store.verification(keys)
        assert owners.tolist() == [2, 1, 1, 1]
        assert owners.dtype == np.uint64
        expected = np.concatenate([sample_keys(2).verification, sample_keys(1, 3).verification])
        assert np.array_equal(rows, expected)
        assert store.owners(keys).tolist() == owners.tolist()

    def test_inactive_keys_have_no_owner(self, store: Store) -> None:
        """A key that left the index meanwhile, or never was, has owner 0 and a row of zeros."""
        store.write([sample_edit(1), sample_edit(2)])
        gone = store.record(1).key_ids[0]
        store.revoke([1])
        rows, owners = store.verification(np.array([gone, store.record(2).key_ids[0], 999], dtype=np.uint64))
        assert owners.tolist() == [0, 2, 0]
        assert not rows[0].any()
        assert not rows[2].any()
        assert rows[1].any()

    def test_verification_of_an_empty_store(self, store: Store) -> None:
        """A store without edits has no owners."""
        rows, owners = store.verification(np.array([1], dtype=np.uint64))
        assert len(rows) == 1
        assert owners.tolist() == [0]

    def test_active_keys_are_those_of_live_edits(self, store: Store) -> None:
        """Blocks list every key of every live edit, ascending, with the right rows."""
        store.write([sample_edit(n, rows=1 + n % 3) for n in range(1, 60)])
        store.revoke([5, 6])
        store.write([sample_edit(60, supersedes=7)])
        held = active(store)
        live = {r.id: r.key_ids for r in store.records(EditFilter(status=(LIVE,)))}
        assert sorted(held) == sorted(key for keys in live.values() for key in keys)
        assert list(held) == sorted(held)
        for edit_id, key_ids in live.items():
            rows = store.keys(edit_id).retrieval
            assert [held[key] for key in key_ids] == [(edit_id, row.tobytes()) for row in rows]

    # --- log -----------------------------------------------------------------------------------------------

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

    # --- recalibration -------------------------------------------------------------------------------------

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

    # --- blobs, settings, care -----------------------------------------------------------------------------

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
        assert stats.projected_bytes(100) == pytest.approx(stats.bytes_per_edit * 100, abs=1)

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
