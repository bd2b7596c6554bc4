"""The state machine: hypothesis drives an index and its brute-force twin through the same life and compares."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sola_index.brute import BruteForceIndex
from sola_index.config import IndexConfig
from sola_index.contract import NO_ID, Floats, Metric
from sola_index.errors import SnapshotError
from sola_index.index import KeyIndex
from sola_index.testing.conformance import unit_keys

# Shapes: N keys, D dimensions.
KINDS = ("random", "duplicates", "clusters", "outlier", "equal", "drift")


def keys_of_kind(kind: str, count: int, seed: int, dim: int, metric: Metric) -> Floats:
    """Keys of one batch; batches of one kind belong together: duplicates and clusters recur across seeds."""
    rng = np.random.default_rng(seed)
    fresh_ND, known_ND = unit_keys(count, seed, dim), unit_keys(5, 0, dim)
    kinds: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "random": lambda: fresh_ND,
        "duplicates": lambda: known_ND[rng.integers(0, 5, count)],
        "clusters": lambda: known_ND[rng.integers(0, 5, count)] + np.float32(1e-3) * fresh_ND,
        "outlier": lambda: fresh_ND + np.float32(300) * np.eye(dim, dtype=np.float32)[0],
        "equal": lambda: np.repeat(known_ND[:1], count, axis=0),
        "drift": lambda: fresh_ND + np.float32(seed % 97) * known_ND[:1] / 10,
    }
    keys_ND = kinds[kind]()
    if metric == "cosine":
        keys_ND = keys_ND / np.linalg.norm(keys_ND, axis=1, keepdims=True)
    return np.asarray(keys_ND, np.float32)


class IndexMachine(RuleBasedStateMachine):
    """Adds, removals, searches, rebuilds, snapshots, reloads and crashes, held against the twin at every step.

    Subclass it to set ``config`` or ``dim``, and hand ``Subclass.TestCase`` to pytest.
    """

    config: ClassVar[IndexConfig] = IndexConfig(
        scan_from=256, lists_from=512, growth=1.5, tail=16, sample=512, background=False
    )
    dim: ClassVar[int] = 16

    @initialize(metric=st.sampled_from(["cosine", "l2"]))
    def begin(self, metric: Metric) -> None:
        """Start empty."""
        self.folder = Path(tempfile.mkdtemp(prefix="sola-index-"))
        self.metric = metric
        self.index = KeyIndex(self.dim, metric, self.config)
        self.twin = BruteForceIndex(self.dim, metric)
        self.removed: set[int] = set()
        self.saved: tuple[BruteForceIndex, set[int], int] | None = None
        self.next_id = 1

    def teardown(self) -> None:
        """Let go of the files."""
        if hasattr(self, "folder"):
            self.index.close()
            shutil.rmtree(self.folder)

    @rule(kind=st.sampled_from(KINDS), count=st.sampled_from([1, 3, 20, 150]), seed=st.integers(0, 999))
    def add(self, kind: str, count: int, seed: int) -> None:
        """Add a batch; each of its keys finds itself at distance zero in the very next search."""
        keys_ND = keys_of_kind(kind, count, seed, self.dim, self.metric)
        ids_N = np.arange(self.next_id, self.next_id + count, dtype=np.uint64)
        self.next_id += count + seed % 3
        self.index.add(ids_N, keys_ND)
        self.twin.add(ids_N, keys_ND)
        assert (self.index.search(keys_ND[:3], 1).distances == 0).all()

    @precondition(lambda self: len(self.twin) > 0)
    @rule(data=st.data(), share=st.sampled_from([0.0, 0.2, 0.6]))
    def remove(self, data: st.DataObject, share: float) -> None:
        """Remove one id or a share of them."""
        seed = data.draw(st.integers(0, 999))
        ids_N = self.twin.ids
        count = max(1, int(share * len(ids_N)))
        gone_N = np.sort(np.random.default_rng(seed).choice(ids_N, count, replace=False))
        self.index.remove(gone_N)
        self.twin.remove(gone_N)
        self.removed |= set(gone_N.tolist())

    @precondition(lambda self: len(self.twin) > 0)
    @rule(seed=st.integers(0, 999), k=st.sampled_from([1, 8, 40]))
    def own_keys(self, seed: int, k: int) -> None:
        """Live ids are found by their own keys, first unless an equal key has a lower id."""
        ids_N = np.random.default_rng(seed).choice(self.twin.ids, min(4, len(self.twin)), replace=False)
        keys_ND = self.twin.keys_of(ids_N)
        found, truth = self.index.search(keys_ND, k), self.twin.search(keys_ND, k)
        # The twin's answers at distance zero are certain in every tier; beyond them the index may miss some.
        zero = truth.distances == 0
        assert (found.ids[zero] == truth.ids[zero]).all()
        assert (found.distances[zero] == 0).all()
        self.check_answer(found.ids, min(k, len(self.twin)))

    @rule(seed=st.integers(0, 999), k=st.sampled_from([1, 5, 30]))
    def exact_search(self, seed: int, k: int) -> None:
        """Exact search equals the twin's, id by id and bit by bit."""
        queries_MD = keys_of_kind("random", 3, seed, self.dim, self.metric)
        found, truth = self.index.search(queries_MD, k, exact=True), self.twin.search(queries_MD, k)
        assert (found.ids == truth.ids).all()
        assert (found.distances == truth.distances).all()

    @rule(seed=st.integers(0, 999), k=st.sampled_from([1, 5, 30]))
    def likely_search(self, seed: int, k: int) -> None:
        """Approximate search returns k distinct live ids as long as there are that many."""
        queries_MD = keys_of_kind("random", 3, seed, self.dim, self.metric)
        self.check_answer(self.index.search(queries_MD, k).ids, min(k, len(self.twin)))

    def check_answer(self, ids_MK: np.ndarray, wanted: int) -> None:
        """No removed id, no repetition, no shortfall."""
        for ids_K in ids_MK:
            found = [key_id for key_id in ids_K.tolist() if key_id != NO_ID]
            assert len(found) == len(set(found)) == wanted
            assert not self.removed & set(found)

    @rule(
        kind=st.sampled_from(KINDS),
        seed=st.integers(0, 999),
        radius=st.sampled_from([0.0, 1e-4, 0.05, 0.4, 1.1]),
    )
    def within(self, kind: str, seed: int, radius: float) -> None:
        """Radius search equals the twin's."""
        queries_MD = keys_of_kind(kind, 2, seed, self.dim, self.metric)
        found, truth = self.index.within(queries_MD, radius), self.twin.within(queries_MD, radius)
        assert (found.offsets == truth.offsets).all()
        assert (found.ids == truth.ids).all()
        assert (found.distances == truth.distances).all()

    @rule()
    def rebuild(self) -> None:
        """A rebuild changes no answer."""
        self.index.rebuild()

    @rule()
    def snapshot(self) -> None:
        """Keep this moment."""
        lsn = self.next_id
        self.index.snapshot(self.folder / "snap", lsn)
        kept = BruteForceIndex(self.dim, self.metric)
        kept._keys, kept._last_id = dict(self.twin._keys), self.twin.last_id  # noqa: SLF001 - the twin's own kit
        self.saved = (kept, set(self.removed), lsn)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def crash(self) -> None:
        """Lose everything since the snapshot; what is loaded is the index of that moment."""
        assert self.saved is not None
        kept, removed, lsn = self.saved
        self.index.close()
        self.index, found = KeyIndex.load(self.folder / "snap", self.config)
        assert found == lsn
        self.removed, self.twin = set(removed), BruteForceIndex(self.dim, self.metric)
        self.twin._keys, self.twin._last_id = dict(kept._keys), kept.last_id  # noqa: SLF001 - as above
        # Ids given out after the snapshot were lost with it, and may be given out again.
        self.next_id = lsn

    @precondition(lambda self: self.saved is not None)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """One flipped bit anywhere in a copy of the snapshot is detected."""
        copy = self.folder / "copy"
        shutil.copytree(self.folder / "snap", copy)
        files = sorted(path for path in copy.iterdir() if path.stat().st_size)
        path = files[data.draw(st.integers(0, len(files) - 1))]
        content = bytearray(path.read_bytes())
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            KeyIndex.load(copy, self.config)
        except SnapshotError:
            pass
        else:
            raise AssertionError(f"bit {bit} of {path.name} was flipped without being noticed")
        finally:
            shutil.rmtree(copy)

    @invariant()
    def same_ids(self) -> None:
        """The live ids are the twin's, always."""
        if hasattr(self, "index"):
            assert len(self.index) == len(self.twin)
            assert self.index.ids.tolist() == self.twin.ids.tolist()
            assert self.index.last_id == self.twin.last_id
