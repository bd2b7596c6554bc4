"""The brute-force twin: the contract in the plainest possible way, to hold every other index against."""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from sola_index import checks
from sola_index.answers import pack_search, pack_within
from sola_index.contract import Floats, Ids, Metric, NearestKeyIndex, SearchResult, WithinResult
from sola_index.distances import squared_distances, to_metric
from sola_index.errors import ClosedIndexError, SnapshotError, UnknownIdError

# Shapes: M queries, N keys, D dimensions, K answers a query.


class BruteForceIndex(NearestKeyIndex):
    """A dictionary of keys; every question is answered by measuring all of them."""

    def __init__(self, dim: int, metric: Metric = "cosine") -> None:
        self.dim = checks.check_dim(dim)
        self.metric = checks.check_metric(metric)
        self._keys: dict[int, Floats] = {}
        self._last_id: int | None = None
        self._closed = False

    def add(self, ids: Ids, keys: Floats) -> None:
        """Add keys one by one; see the contract."""
        self._check_open()
        ids_N = checks.check_new_ids(ids, self._last_id)
        keys_ND = checks.check_keys(keys, self.dim, self.metric)
        checks.check_pairs(ids_N, keys_ND)
        for key_id, key_D in zip(ids_N.tolist(), keys_ND, strict=True):
            self._keys[key_id] = key_D.copy()
            self._last_id = key_id

    def remove(self, ids: Ids) -> None:
        """Forget keys; see the contract."""
        self._check_open()
        wanted = checks.check_distinct(ids).tolist()
        self._check_known(wanted)
        for key_id in wanted:
            del self._keys[key_id]

    def search(self, queries: Floats, k: int, *, exact: bool = False) -> SearchResult:
        """Measure every key and sort; ``exact`` changes nothing."""
        del exact
        ranked = [(ids_N[:k], far_N[:k]) for ids_N, far_N in self._ranked(queries)]
        return pack_search(ranked, checks.check_k(k))

    def within(self, queries: Floats, radius: float) -> WithinResult:
        """Measure every key and keep the near ones."""
        radius = checks.check_radius(radius)
        return pack_within(
            [(ids_N[far_N <= radius], far_N[far_N <= radius]) for ids_N, far_N in self._ranked(queries)]
        )

    def _ranked(self, queries: Floats) -> list[tuple[Ids, Floats]]:
        self._check_open()
        queries_MD = checks.check_queries(queries, self.dim, self.metric)
        ids_N = self.ids
        keys_ND = self.keys_of(ids_N)
        everything_N = np.arange(len(keys_ND))
        ranked = []
        for query_D in queries_MD:
            far_N = to_metric(squared_distances(query_D[None], keys_ND, everything_N[None])[0], self.metric)
            order_N = np.lexsort((ids_N, far_N))
            ranked.append((ids_N[order_N], far_N[order_N]))
        return ranked

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    @property
    def ids(self) -> Ids:
        """The live ids, ascending."""
        return np.array(sorted(self._keys), np.uint64)

    @property
    def last_id(self) -> int | None:
        """The greatest id ever added."""
        return self._last_id

    def keys_of(self, ids: Ids) -> Floats:
        """The keys of live ids."""
        self._check_open()
        wanted = checks.as_ids(ids).tolist()
        self._check_known(wanted)
        return np.array([self._keys[key_id] for key_id in wanted], np.float32).reshape(len(wanted), self.dim)

    def stats(self) -> dict[str, Any]:
        """What there is to say."""
        return {"tier": "brute", "live": len(self)}

    def snapshot(self, path: Path | str, lsn: int) -> None:
        """Write two files; not meant to survive a crash."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"dim": self.dim, "metric": self.metric, "last_id": self._last_id, "lsn": lsn}
        np.savez(folder / "brute.npz", ids=self.ids, keys=self.keys_of(self.ids))
        (folder / "brute.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> tuple[Self, int]:
        """Read what `snapshot` wrote."""
        folder = Path(path)
        if not (folder / "brute.json").exists():
            raise SnapshotError(f"no snapshot in {folder}")
        about = json.loads((folder / "brute.json").read_text(encoding="utf-8"))
        index = cls(about["dim"], about["metric"])
        with np.load(folder / "brute.npz", allow_pickle=False) as arrays:
            index._keys = dict(zip(arrays["ids"].tolist(), arrays["keys"], strict=True))
        index._last_id = about["last_id"]
        return index, about["lsn"]

    def close(self) -> None:
        """Refuse further use."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedIndexError("the index is closed")

    def _check_known(self, wanted: list[int]) -> None:
        missing = [key_id for key_id in wanted if key_id not in self._keys]
        if missing:
            raise UnknownIdError(f"{len(missing)} ids are not in the index, the first of them {missing[0]}")
