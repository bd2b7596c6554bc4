"""Opening an index whatever became of its snapshot: from the folder if it is sound, else from the keys."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from sola_index.config import IndexConfig
from sola_index.contract import Floats, Ids, Metric
from sola_index.errors import SnapshotError
from sola_index.gpu.device import Device
from sola_index.index import KeyIndex

Batches = Iterable[tuple[Ids, Floats]]


class SnapshotWarning(UserWarning):
    """A snapshot could not be used and the index was rebuilt from the keys."""


def load_or_rebuild(
    path: Path | str,
    source: Callable[[], tuple[Batches, int]],
    dim: int,
    metric: Metric = "cosine",
    *,
    config: IndexConfig | None = None,
    device: Device | None = None,
) -> tuple[KeyIndex, int]:
    """Load a snapshot or, if it is missing, damaged or of other keys, build the index from its source with a warning.

    Args:
        path: the snapshot's folder.
        source: gives the live (ids, keys) in ascending batches and the log sequence number they stand for; called
            only when needed.
        dim: width of the keys; a snapshot of another width or metric counts as damaged.
        metric: ``"cosine"`` or ``"l2"``.
        config: where tiers change and how hard they look.
        device: a GPU to take candidates from.

    Returns:
        The index, and the log sequence number to catch up from.
    """
    try:
        index, lsn = KeyIndex.load(path, config, device)
    except SnapshotError as error:
        problem = str(error)
    else:
        if (index.dim, index.metric) == (dim, metric):
            return index, lsn
        problem = f"{path} holds {index.metric} keys of width {index.dim}, not {metric} keys of width {dim}"
        index.close()
    warnings.warn(f"{problem}; rebuilding the index from the keys", SnapshotWarning, stacklevel=2)
    batches, lsn = source()
    index = KeyIndex(dim, metric, config, device)
    for ids, keys in batches:
        index.add(ids, keys)
    return index, lsn
