"""Conformance: what can be read of records, weights and keys."""

import numpy as np
import pytest

from sola_scale.errors import (
    UnknownEditError,
)
from sola_scale.store.contract import Store
from sola_scale.store.records import EditFilter, EditStatus
from sola_scale.store.testing.samples import (
    active,
    sample_edit,
    sample_keys,
    sample_weights,
)

LIVE, SUPERSEDED, REVOKED = EditStatus.LIVE, EditStatus.SUPERSEDED, EditStatus.REVOKED
PURGED, QUARANTINED = EditStatus.PURGED, EditStatus.QUARANTINED


class ReadingSuite:
    """Records, filters, weights, keys and their owners."""

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
