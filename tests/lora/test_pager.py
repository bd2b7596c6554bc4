"""The pager and its slots: what is resident, what is read, and that a batch owns what it was given."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from sola_scale.errors import CorruptRecordError
from sola_scale.lora.adapter import Adapter
from sola_scale.lora.codec import decode, encode
from sola_scale.lora.layout import AdapterLayout, ModuleShape
from sola_scale.lora.pager import Pager, Visit

SHORT = AdapterLayout(
    modules=(ModuleShape(path="low", d_in=64, d_out=32), ModuleShape(path="high", d_in=64, d_out=32)), rank=1
)
LONG = AdapterLayout(modules=(ModuleShape(path="high", d_in=64, d_out=32),), rank=3)
LAYOUTS = (SHORT, LONG)


def adapter(edit_id: int, which: int = 0) -> Adapter:
    layout = LAYOUTS[which]
    generator = torch.Generator().manual_seed(edit_id)
    return Adapter(
        layout_index=which,
        a_rI=tuple(torch.randn(layout.rank, one.d_in, generator=generator) for one in layout.modules),
        b_rO=tuple(torch.randn(layout.rank, one.d_out, generator=generator) for one in layout.modules),
    )


class Shelf:
    """Payloads by edit id, with a count of the reads."""

    def __init__(self, long: Sequence[int] = ()) -> None:
        self.reads: list[list[int]] = []
        self.gone: set[int] = set()
        self.long = set(long)

    def payload(self, edit_id: int) -> bytes:
        return encode(adapter(edit_id, int(edit_id in self.long)), "int8")

    def load(self, ids: Sequence[int], visit: Visit) -> None:
        self.reads.append(list(ids))
        for edit_id in ids:
            if edit_id not in self.gone:
                visit(edit_id, memoryview(self.payload(edit_id)))


def pager(shelf: Shelf, slots: int, dtype: torch.dtype = torch.float32) -> Pager:
    memory = 2 * slots * SHORT.size * torch.empty((), dtype=dtype).element_size()
    return Pager(LAYOUTS, shelf.load, memory=memory, device=torch.device("cpu"), dtype=dtype)


def deltas(fired: object, path: str, x_BI: torch.Tensor) -> torch.Tensor:
    """What ``fired`` adds at a prefill of one-token prompts."""

    class OneToken:
        prefill = True

        @staticmethod
        def prompt_columns(rows_F: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(rows_F)

    output_B1O = torch.zeros(len(x_BI), 1, 32, dtype=x_BI.dtype)
    fired.apply(path, OneToken, x_BI.unsqueeze(1), output_B1O)  # type: ignore[attr-defined]
    return output_B1O[:, 0]


# Slots that the host cannot decode into are filled as those of a device are: through staged rows, in one transfer.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("slots", [1, 2, 8])
def test_every_row_gets_its_own_adapter(slots: int, dtype: torch.dtype) -> None:
    """Each fired row is changed by its own edit's stored weights, however few slots there are; the others by nothing."""
    shelf = Shelf(long=[7])
    book = pager(shelf, slots, dtype)
    rows = [(0, 3), (2, 5), (3, 7), (4, 3), (5, 9)]
    x_BI = torch.randn(6, 64, dtype=dtype)
    fired, lost = book.fetch(rows)
    assert fired is not None
    assert not lost
    assert fired.rows_F.tolist() == [0, 2, 3, 4, 5]
    for path in ("low", "high"):
        changed_BO = deltas(fired, path, x_BI)
        expected_BO = torch.zeros(6, 32, dtype=dtype)
        for row, edit_id in rows:
            stored = decode(shelf.payload(edit_id))
            paths = LAYOUTS[stored.layout_index].paths
            if path in paths:
                expected_BO[row] = stored.delta(paths.index(path), x_BI[row].float())
        torch.testing.assert_close(changed_BO, expected_BO, atol=1e-4, rtol=1e-4)


def test_resident_edits_are_not_read_again() -> None:
    """A second batch with the same edits reads nothing; hits, misses and evictions are counted."""
    shelf = Shelf()
    book = pager(shelf, slots=4)
    book.fetch([(0, 1), (1, 2), (2, 1)])
    book.fetch([(0, 2), (1, 1)])
    assert shelf.reads == [[1, 2]]
    stats = book.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.resident) == (2, 2, 0, 2)


def test_the_least_recently_used_edit_gives_way() -> None:
    """With full slots the edit that was not used for longest is evicted, pinned ones never."""
    shelf = Shelf()
    book = pager(shelf, slots=3)
    assert book.pin([1]) == set()
    for edit_id in (2, 3, 2, 4):
        book.fetch([(0, edit_id)])
    assert sorted(book.resident()) == [1, 2, 4]
    book.unpin([1])
    book.fetch([(0, 5)])
    assert sorted(book.resident()) == [2, 4, 5]


def test_no_pin_takes_the_last_slot() -> None:
    """Pinning more edits than there are slots is refused edit by edit, and one slot stays free for the others."""
    book = pager(Shelf(), slots=2)
    assert book.pin([1, 2, 3]) == {2, 3}
    fired, lost = book.fetch([(0, 8), (1, 9)])
    assert fired is not None
    assert not lost


def test_an_unmapped_edit_is_read_anew() -> None:
    """After ``unmap`` no slot holds the edit; the next use reads its weights from the store again."""
    shelf = Shelf()
    book = pager(shelf, slots=4)
    book.fetch([(0, 1)])
    book.unmap([1, 99])
    assert book.resident() == []
    book.fetch([(0, 1)])
    assert shelf.reads == [[1], [1]]


def test_a_batch_keeps_what_it_was_given() -> None:
    """Eviction and unmapping after the fetch do not touch a batch in flight."""
    book = pager(Shelf(), slots=1)
    x_BI = torch.randn(1, 64)
    fired, _ = book.fetch([(0, 1)])
    before_BO = deltas(fired, "low", x_BI)
    book.unmap([1])
    book.fetch([(0, 2)])
    assert torch.equal(deltas(fired, "low", x_BI), before_BO)


def test_weights_that_are_gone_are_reported() -> None:
    """An edit whose weights do not arrive is named, and its batch mates fire."""
    shelf = Shelf()
    shelf.gone = {2}
    fired, lost = pager(shelf, slots=4).fetch([(0, 1), (1, 2)])
    assert lost == {2}
    assert fired is not None
    assert fired.rows_F.tolist() == [0]


@pytest.mark.parametrize("damage", ["length", "layout"])
def test_a_payload_that_is_none_takes_no_slot(damage: str) -> None:
    """A payload that fits no layout is refused, and the slot it would have had is there for the next one."""
    shelf = Shelf()
    book = pager(shelf, slots=1)
    whole = shelf.payload
    shelf.payload = {  # type: ignore[method-assign]
        "length": lambda edit_id: whole(edit_id)[:-1] if edit_id == 1 else whole(edit_id),
        "layout": lambda edit_id: encode(
            replace(adapter(1), layout_index=len(LAYOUTS) - int(edit_id > 1) * 2)
        ),
    }[damage]
    with pytest.raises(CorruptRecordError):
        book.fetch([(0, 1)])
    fired, lost = book.fetch([(0, 2)])
    assert fired is not None
    assert not lost
    assert book.resident() == [2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_read_that_breaks_off_loses_no_slot(dtype: torch.dtype) -> None:
    """What came before the error is resident, and the other slots are there for the next batch."""
    shelf = Shelf()
    book = pager(shelf, slots=2, dtype=dtype)
    whole = shelf.payload
    shelf.payload = lambda edit_id: whole(edit_id)[: -1 if edit_id == 2 else None]  # type: ignore[method-assign]
    with pytest.raises(CorruptRecordError):
        book.fetch([(0, 1), (1, 2)])
    assert book.resident() == [1]
    book.fetch([(0, 3), (1, 4)])
    assert book.resident() == [3, 4]


def test_a_batch_beyond_the_slots_keeps_the_slots_full() -> None:
    """Of a batch with more edits than slots the first ones stay resident, the others pass by and are counted."""
    book = pager(Shelf(), slots=2)
    book.fetch(list(enumerate([1, 2, 3, 4])))
    stats = book.stats()
    assert (sorted(book.resident()), stats.overflows, stats.evictions) == ([1, 2], 2, 0)
    assert (stats.staging.count, stats.page_in.count) == (1, 4)


def test_prefetched_edits_are_there_when_they_fire() -> None:
    """An edit that was paged in ahead is a hit, and a pinned one outlives the others."""
    shelf = Shelf()
    book = pager(shelf, slots=3)
    book.prefetch([1, 1, 2, 3])
    assert sorted(book.resident()) == [1, 2]
    book.fetch([(0, 2)])
    assert shelf.reads == [[1, 2]]
    assert book.stats().page_in.count == 2


def test_nothing_fires_when_nothing_arrives() -> None:
    """A batch whose only edit is gone has no action at all."""
    shelf = Shelf()
    shelf.gone = {2}
    assert pager(shelf, slots=4).fetch([(1, 2)]) == (None, {2})


def test_threads_share_the_slots_without_tearing() -> None:
    """Threads that fetch, unmap and pin at once always get whole, right adapters."""
    shelf = Shelf()
    book = pager(shelf, slots=3)
    x_BI = torch.randn(4, 64)
    expected = {edit_id: decode(shelf.payload(edit_id)).delta(0, x_BI) for edit_id in range(1, 12)}
    failures: list[int] = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(60):
            ids = (1 + torch.randint(11, (4,), generator=generator)).tolist()
            fired, _ = book.fetch(list(enumerate(ids)))
            changed_BO = deltas(fired, "low", x_BI)
            failures.extend(
                edit_id
                for row, edit_id in enumerate(ids)
                if not torch.allclose(changed_BO[row], expected[edit_id][row], atol=1e-5)
            )
            book.unmap(ids[:1])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
