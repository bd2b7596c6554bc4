"""Small indexes in each tier, and keys that look a little like real ones."""

import numpy as np

from sola_index import IndexConfig, KeyIndex
from sola_index.testing.conformance import consecutive, unit_keys

DIM = 32
SMALL = IndexConfig(scan_from=256, lists_from=512, tail=16, sample=2048, background=False)


def clustered_keys(count, seed, dim=DIM, clusters=60):
    """Unit keys around fixed centres: searchable by lists, unlike uniform noise."""
    rng = np.random.default_rng(seed)
    keys_ND = unit_keys(clusters, 1234, dim)[rng.integers(0, clusters, count)] + 0.12 * rng.normal(
        size=(count, dim)
    )
    return (keys_ND / np.linalg.norm(keys_ND, axis=1, keepdims=True)).astype(np.float32)


def filled_index(count, config=SMALL, metric="cosine", seed=0):
    """An index of clustered keys with ids from 1 on, and the keys."""
    keys_ND = clustered_keys(count, seed)
    index = KeyIndex(DIM, metric, config)
    index.add(consecutive(count), keys_ND)
    return index, keys_ND
