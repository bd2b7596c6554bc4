"""Conformance: what the verbs that change edits do."""

from typing import Any

import numpy as np
import pytest

from sola_scale.errors import (
    CalibrationError,
    EditStateError,
    RequestError,
    UnknownEditError,
)
from sola_scale.store.contract import Store
from sola_scale.store.records import EditStatus, KeyRows, Operation
from sola_scale.store.testing.samples import (
    contents,
    sample_edit,
    sample_keys,
    sample_weights,
    state_of,
)

LIVE, SUPERSEDED, REVOKED = EditStatus.LIVE, EditStatus.SUPERSEDED, EditStatus.REVOKED
PURGED, QUARANTINED = EditStatus.PURGED, EditStatus.QUARANTINED


class VerbsSuite:
    """Writing, superseding, revoking, restoring, purging, quarantining."""

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

    @pytest.mark.parametrize("verb", ["revoke", "restore", "purge"])
    def test_a_rehearsal_tells_and_changes_nothing(self, store: Store, verb: str) -> None:
        """What a verb would do is told exactly, errors included, and none of it happens."""
        store.write([sample_edit(1), sample_edit(2, supersedes=1), sample_edit(3)])
        store.revoke([3])
        before = state_of(store)
        told = store.rehearse(Operation(verb), [2, 3])
        with pytest.raises(UnknownEditError):
            store.rehearse(Operation(verb), [1, 99])
        assert state_of(store) == before
        done = getattr(store, verb)([2, 3])
        assert told.edit_ids == done.edit_ids
        assert told.last_seq == done.last_seq
        assert [one.edit_id for one in told.activated] == [one.edit_id for one in done.activated]
        assert np.array_equal(told.deactivated, done.deactivated)

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
            {"keys": KeyRows(np.zeros((1, 0), np.float32), np.zeros((1, 12), np.float16))},
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
            store.revoke([1, 2, 1, 3]),
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
