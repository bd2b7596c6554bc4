"""The live index: it follows the store, survives its snapshot, and is rebuilt whenever in doubt."""

from pathlib import Path

import numpy as np
import pytest

from sola_scale import live as live_module
from sola_scale.live import LiveIndex
from sola_scale.store import KeyRows, LmdbStore, NewEdit, StoreManifest

DIM = 16


def edit(number: int) -> NewEdit:
    rng = np.random.default_rng(number)
    keys = KeyRows(
        retrieval=rng.standard_normal((1, DIM)).astype(np.float16),
        verification=rng.standard_normal((1, 4)).astype(np.float16),
    )
    return NewEdit(prompt=f"p{number}", target="t", keys=keys, weights=b"w", calibration=1)


@pytest.fixture
def store(tmp_path: Path):
    with LmdbStore.create(tmp_path / "s", StoreManifest(model_name="m", fingerprint={"model": "a"})) as made:
        yield made


def test_it_follows_every_verb(store: LmdbStore) -> None:
    """Written, revoked, restored and superseding edits are in the index exactly while they are active."""
    live = LiveIndex(store, dim=DIM)
    live.apply(store.write([edit(1), edit(2)]))
    live.apply(store.revoke([1]))
    assert len(live.index) == 1
    live.apply(store.restore([1]))
    assert live.compare() == ()
    assert len(live.index) == 2


def test_it_catches_up_from_the_log(store: LmdbStore, tmp_path: Path) -> None:
    """An index from a snapshot replays what happened since; one without finds everything by itself."""
    live = LiveIndex(store, dim=DIM, folder=tmp_path / "index")
    live.apply(store.write([edit(1), edit(2)]))
    live.snapshot()
    live.close()
    store.revoke([1])
    store.write([edit(3)])
    for folder in (tmp_path / "index", None):
        again = LiveIndex(store, dim=DIM, folder=folder)
        assert again.compare() == ()
        assert len(again.index) == 2
        again.close()


def test_transitions_may_come_out_of_order(store: LmdbStore) -> None:
    """Threads may bring a later transaction first: the earlier one is read from the log, and then nothing new."""
    live = LiveIndex(store, dim=DIM)
    first, second, third = store.write([edit(1)]), store.write([edit(2)]), store.revoke([1])
    for transition in (third, first, second):
        live.apply(transition)
        assert (live.seq, len(live.index)) == (store.last_seq, 1)
    assert live.compare() == ()


def test_it_follows_another_process(store: LmdbStore) -> None:
    """`refresh` names the edits that changed elsewhere, and nothing when nothing did."""
    live = LiveIndex(store, dim=DIM)
    store.write([edit(1)])
    store.write([edit(2)])
    assert live.refresh() == {1, 2}
    assert live.refresh() == set()
    assert live.compare() == ()


def test_it_is_rebuilt_when_the_log_no_longer_reaches_back(store: LmdbStore) -> None:
    """A truncated log is answered by a rebuild from the keys."""
    live = LiveIndex(store, dim=DIM)
    for number in range(1, 6):
        store.write([edit(number)])
    store.truncate_log(5)
    live.refresh()
    assert live.compare() == ()
    assert len(live.index) == 5


def test_it_is_written_in_the_background(
    store: LmdbStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After enough changes the snapshot is written without being asked for."""
    monkeypatch.setattr(live_module, "_SNAPSHOT_KEYS", 2)
    live = LiveIndex(store, dim=DIM, folder=tmp_path / "index")
    live.apply(store.write([edit(1), edit(2), edit(3)]))
    live.close()
    assert (tmp_path / "index").exists()
