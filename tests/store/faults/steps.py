"""Steps of a random history of a store: chosen by the worker, told as JSON, done again on the in-memory twin."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from sola_scale.live import LiveIndex
from sola_scale.store import EditFilter, EditStatus, Store
from sola_scale.store.testing import sample_edit
from sola_scale.store.testing.samples import sample_keys

Step: TypeAlias = dict[str, Any]
"""A verb and its arguments, as JSON."""

INDEX = "index"
"""Folder of the index's snapshot, beside the store's."""

STOPPED = (EditStatus.REVOKED, EditStatus.QUARANTINED)


class StepClock:
    """A clock that the current step sets, so that both stores see the same times."""

    now = 0

    def __call__(self) -> int:
        """The time of the current step."""
        return self.now


def choose(store: Store, rng: random.Random) -> Step:
    """A next step that suits the state of the store."""
    verb = rng.choices([name for name, _ in _CHOICES], [weight for _, weight in _CHOICES])[0]
    step = {"verb": verb, "at": rng.randrange(1 << 40), **_ARGUMENTS.get(verb, _no_arguments)(store, rng)}
    return step if step.get("ids") != [] else choose(store, rng)


_CHOICES = [
    ("write", 8),
    ("supersede", 6),
    ("revoke", 8),
    ("restore", 6),
    ("purge", 5),
    ("quarantine", 2),
    ("recalibrate", 5),
    ("truncate_log", 2),
    ("put_blobs", 2),
    ("compact", 2),
    ("backup", 1),
    ("repair", 1),
    ("snapshot", 3),
]
"""Verbs and how often they are chosen; slow ones are struck by more kills than their share anyway."""


def _no_arguments(_store: Store, _rng: random.Random) -> Step:
    return {}


def _write(store: Store, rng: random.Random) -> Step:
    first, count = store.next_edit_id, rng.choice([1, 1, 5, 40])
    return {"numbers": list(range(first, first + count)), "calibration": store.calibration or 0}


def _supersede(store: Store, rng: random.Random) -> Step:
    step = _write(store, rng)
    older = rng.randrange(1, store.next_edit_id) if store.next_edit_id > 1 else None
    return {**step, "numbers": step["numbers"][:3], "supersedes": older}


def _ids(store: Store, rng: random.Random, *statuses: EditStatus) -> Step:
    known = [record.id for record in store.records(EditFilter(status=statuses or None))]
    return {"ids": sorted(rng.sample(known, min(len(known), rng.choice([1, 1, 3, 30]))))}


_ARGUMENTS: dict[str, Callable[[Store, random.Random], Step]] = {
    "write": _write,
    "supersede": _supersede,
    "revoke": _ids,
    "restore": lambda store, rng: _ids(store, rng, *STOPPED),
    "purge": lambda store, rng: {"ids": _ids(store, rng)["ids"][:2]},
    "quarantine": lambda store, rng: {"ids": _ids(store, rng, EditStatus.LIVE)["ids"][:1]},
    "recalibrate": lambda store, rng: {"calibration": (store.calibration or 0) + 1},
    "truncate_log": lambda store, rng: {"before": rng.randrange(store.last_seq + 1)},
    "put_blobs": lambda store, rng: {"name": f"blob-{rng.randrange(3)}", "size": rng.choice([0, 10, 20_000])},
    "backup": lambda store, rng: {"folder": "backup"},
}


def do(store: Store, step: Step, folder: Path | None = None, live: LiveIndex | None = None) -> None:
    """Do a step; what needs a disk (`folder`) or an index (`live`) is nothing to the in-memory twin."""
    clock = store._clock
    assert isinstance(clock, StepClock)
    clock.now = step["at"]
    verb = step["verb"]
    if verb in ("write", "supersede"):
        fields = {"calibration": step["calibration"], "supersedes": step.get("supersedes")}
        store.write([_edit(number, fields) for number in step["numbers"]])
    elif verb == "quarantine":
        store.quarantine(step["ids"], "by chance")
    elif verb == "recalibrate":
        known = [record.id for record in store.records() if record.status is not EditStatus.PURGED]
        rows = [(edit_id, sample_keys(edit_id + 7 * step["calibration"])) for edit_id in known]
        store.recalibrate(step["calibration"], rows, {"calibration": b"%d" % step["calibration"]})
    elif verb == "truncate_log":
        store.truncate_log(step["before"])
    elif verb == "put_blobs":
        store.put_blobs({step["name"]: bytes(step["size"]) or None, "other": b"x"})
    elif verb == "compact":
        store.compact()
    elif verb == "repair":
        assert store.verify(repair=True).ok
    elif verb in ("backup", "snapshot"):
        _copy(store, step, folder, live)
    else:
        getattr(store, verb)(step["ids"])


def _copy(store: Store, step: Step, folder: Path | None, live: LiveIndex | None) -> None:
    """Write something beside the store that changes nothing in it."""
    if step["verb"] == "snapshot" and live is not None:
        live.snapshot(force=True)
    elif step["verb"] == "backup" and folder is not None:
        shutil.rmtree(folder / step["folder"], ignore_errors=True)
        store.backup(folder / step["folder"])


def open_index(store: Store, folder: Path) -> LiveIndex:
    """The index of a store, from its snapshot and the log."""
    return LiveIndex(store, dim=sample_keys(1).retrieval.shape[1], folder=folder / INDEX)


def _edit(number: int, fields: dict[str, Any]) -> Any:
    return sample_edit(number, rows=1 + number % 3, size=50 + number % 7 * 300, **fields)
