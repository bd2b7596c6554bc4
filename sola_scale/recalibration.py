"""Recalibration: new keys for every edit from its stored prompts, swapped in as one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sola_scale.backbone import Backbone, capture_views
from sola_scale.keying import key_rows
from sola_scale.keys import Calibration, Pairs, default_layout, default_pairs, fit_calibration
from sola_scale.opening import Parts, calibration_blobs
from sola_scale.store import EditRecord, KeyRows, Store

_PROMPTS = 64
Item = TypeVar("Item")


def recalibrate(
    parts: Parts,
    pairs: Sequence[Pairs] | None,
    *,
    false_fire: float,
    seed: int,
    cross_encoder: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> Calibration:
    """Fit a calibration and exchange a store's keys for it, in one last transaction."""
    told = progress or (lambda _phase, _done: None)
    calibration = fit_calibration(
        parts.backbone,
        default_pairs() if pairs is None else pairs,
        false_fire=false_fire,
        seed=seed,
        layout=default_layout(len(parts.backbone.architecture.layers), parts.decision_layer),
        cross_encoder=cross_encoder,
        progress=lambda done, _: told("fitting", done),
        training=lambda done, _: told("training", done),
    )
    version = parts.calibration_id + 1
    rows = recomputed_keys(parts.backbone, parts.store, calibration, lambda done: told("keys", done))
    parts.store.recalibrate(version, rows, calibration_blobs(version, calibration))
    return calibration


def recomputed_keys(
    backbone: Backbone, store: Store, calibration: Calibration, progress: Callable[[int], None]
) -> Iterator[tuple[int, KeyRows]]:
    """Yield every edit that still has a text, with its keys under ``calibration``; ``progress`` hears each count."""
    done = 0
    for records in _batched(store.records(), _PROMPTS // 2):
        kept = [record for record in records if record.prompt]
        yield from _keys_of(backbone, calibration, kept)
        done += len(records)
        progress(done)


def _keys_of(
    backbone: Backbone, calibration: Calibration, records: list[EditRecord]
) -> Iterator[tuple[int, KeyRows]]:
    texts = [text for record in records for text in (record.prompt, *record.paraphrases)]
    rows = [
        capture_views(backbone, some, calibration.views).float().cpu() for some in _batched(texts, _PROMPTS)
    ]
    views = (view for part in rows for view in part.numpy())
    for record in records:
        mine = [next(views) for _ in range(1 + len(record.paraphrases))]
        yield record.id, key_rows(calibration, mine)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch
