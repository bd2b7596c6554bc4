"""Small deterministic edits, and all that can be seen of a store, for comparing two."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from xxhash import xxh3_64_hexdigest

from sola_scale.errors import EditStateError, SolaError
from sola_scale.store.changes import Transition
from sola_scale.store.contract import Store
from sola_scale.store.records import EditRecord, EditStatus, KeyRows, NewEdit, StoreManifest

RETRIEVAL_WIDTH = 8
VERIFICATION_WIDTH = 12


class Clock:
    """A clock that moves on by one with every look, so that two stores can be given the same times."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        """The next moment."""
        self.now += 1
        return self.now


def sample_manifest(**changes: Any) -> StoreManifest:
    """A manifest for a model that does not exist."""
    fingerprint = {"model": "m1", "tokenizer": "t1", "layout": "l1"}
    manifest = StoreManifest(model_name="sample", fingerprint=fingerprint, layout={"layers": [26, 29]})
    return msgspec.structs.replace(manifest, **changes)


def sample_keys(number: int, rows: int = 1) -> KeyRows:
    """Keys that tell by their numbers whose they are."""
    rng = np.random.default_rng(number)
    retrieval = rng.standard_normal((rows, RETRIEVAL_WIDTH), dtype=np.float32)
    return KeyRows(retrieval, rng.standard_normal((rows, VERIFICATION_WIDTH)).astype(np.float16))


def sample_weights(number: int, size: int = 100) -> bytes:
    """Weights that tell by their bytes whose they are."""
    return np.random.default_rng(number + 1_000_000).bytes(size)


def sample_edit(number: int, *, rows: int = 1, size: int = 100, **changes: Any) -> NewEdit:
    """The edit with this number, always the same."""
    fields: dict[str, Any] = {
        "prompt": f"The capital of land {number} is",
        "target": f"Town {number}",
        "keys": sample_keys(number, rows),
        "weights": sample_weights(number, size),
        "tags": ("even" if number % 2 == 0 else "odd",),
        "source": f"file-{number % 3}",
        "details": {"loss": number / 7, "steps": number, "form": "int4"},
    }
    return NewEdit(**{**fields, **changes})


def contents(store: Store, edit_id: int) -> tuple[object, ...]:
    """Weights and keys of an edit as comparable values, or the name of the error that reading them raises."""
    try:
        keys = store.keys(edit_id)
        weights = store.weights([edit_id])[0]
    except EditStateError as error:
        return (type(error).__name__,)
    return weights, keys.retrieval.dtype.str, keys.retrieval.tobytes(), keys.verification.tobytes()


def active(store: Store) -> dict[int, tuple[int, bytes]]:
    """Key id → owner and retrieval row of every key the index shall hold."""
    found: dict[int, tuple[int, bytes]] = {}
    for block in store.active_keys(block=7):
        for key_id, edit_id, row in zip(block.key_ids, block.edit_ids, block.retrieval, strict=True):
            found[int(key_id)] = (int(edit_id), row.tobytes())
    return found


def state_of(store: Store) -> dict[str, object]:
    """All that the contract lets one see of a store."""
    records: list[EditRecord] = list(store.records())
    key_ids = np.array(sorted(active(store)), dtype=np.uint64)
    verification, owners = store.verification(key_ids)
    return {
        "records": records,
        "contents": {record.id: contents(store, record.id) for record in records if not _keyless(record)},
        "chains": {record.id: store.chain(record.id) for record in records},
        "prompts": {record.prompt: store.find_prompt(record.prompt) for record in records if record.prompt},
        "active": active(store),
        "verification": (verification.tobytes(), owners.tolist()),
        "log": store.log(store.low_water),
        "counters": (store.last_seq, store.low_water, store.next_edit_id, store.calibration),
        "blobs": {name: store.blob(name) for name in store.blobs()},
        "settings": store.settings(),
        "statuses": store.stats().statuses,
    }


def _keyless(record: EditRecord) -> bool:
    # A calibration need not bring keys for a quarantined edit; what reading it raises is the store's own affair.
    return record.status is EditStatus.QUARANTINED


def plain(transition: Transition) -> dict[str, object]:
    """A transition as comparable values."""
    come = [(a.edit_id, a.key_ids.tolist(), a.retrieval.tobytes()) for a in transition.activated]
    return {
        "operation": transition.operation,
        "edit_ids": transition.edit_ids,
        "deactivated": transition.deactivated.tolist(),
        "activated": come,
        "last_seq": transition.last_seq,
        "rebuild": transition.rebuild,
    }


def follow(held: dict[int, tuple[int, bytes]], transitions: Iterable[Transition]) -> None:
    """Apply transitions as an index would, and complain where one would."""
    for transition in transitions:
        for key_id in transition.deactivated.tolist():
            held.pop(key_id, None)
        for activation in transition.activated:
            for key_id, row in zip(activation.key_ids.tolist(), activation.retrieval, strict=True):
                if key_id in held:
                    raise SolaError(f"key id {key_id} was given twice")
                held[key_id] = (activation.edit_id, row.tobytes())


def told(store: Store) -> dict[str, Any]:
    """What an old store must still tell, as JSON: records in the clear, weights and keys as checksums."""
    fields = (
        "id",
        "status",
        "prompt",
        "target",
        "paraphrases",
        "tags",
        "source",
        "created_at",
        "chain",
        "key_ids",
    )
    told_records = [{name: getattr(record, name) for name in fields} for record in store.records()]
    sums = {
        str(r.id): xxh3_64_hexdigest(repr(contents(store, r.id)).encode())
        for r in store.records()
        if not _keyless(r)
    }
    told_state = {
        "records": told_records,
        "contents": sums,
        "active": {str(key_id): owner for key_id, (owner, _) in active(store).items()},
        "log": [[entry.seq, entry.operation] for entry in store.log(store.low_water)],
        "settings": store.settings(),
        "blobs": store.blobs(),
    }
    plain_state: dict[str, Any] = msgspec.to_builtins(told_state)
    return json.loads(json.dumps(plain_state))  # type: ignore[no-any-return]
