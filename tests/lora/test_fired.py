"""Fired adapters: where in a text they act, and where the model is the base model again."""

import torch

from sola_scale.backbone import ForwardCall, PinnedSequence
from sola_scale.lora.fired import FiredAdapters, FiredGroup
from sola_scale.lora.layout import AdapterLayout, ModuleShape

LAYOUT = AdapterLayout(modules=(ModuleShape(path="map", d_in=4, d_out=3),), rank=1)


def fired(rows: list[int]) -> FiredAdapters:
    """An adapter of ones for each row."""
    return FiredAdapters([FiredGroup(LAYOUT, torch.tensor(rows), torch.ones(len(rows), LAYOUT.size))])


def acted(adapters: FiredAdapters, *, past: int, length: int = 1) -> list[list[bool]]:
    """Which positions of a decode step the adapters change, after two prompts of 3 tokens."""
    sequence = PinnedSequence(adapters, torch.tensor([2, 2]), None)  # type: ignore[arg-type]
    call = ForwardCall(torch.ones(2, length, dtype=torch.bool), past, None, prefill=False, sequence=sequence)
    output_BTO = torch.zeros(2, length, 3)
    adapters.apply("map", call, torch.ones(2, length, 4), output_BTO)
    return (output_BTO != 0).any(dim=-1).tolist()


def test_unbounded_adapters_act_at_every_step() -> None:
    """An adapter that is not bound acts as long as the text grows, on its own row alone."""
    assert acted(fired([1]), past=3) == [[False], [True]]
    assert acted(fired([1]), past=300) == [[False], [True]]


def test_bound_adapters_act_within_their_answer() -> None:
    """With 3 positions an adapter acts at the end of the prompt and in two steps more; then not a bit is changed."""
    adapters = fired([0, 1])
    adapters.bound({0: 3, 1: 5})
    assert [acted(adapters, past=past) for past in (4, 5, 6, 7)] == [
        [[True], [True]],
        [[False], [True]],
        [[False], [True]],
        [[False], [False]],
    ]


def test_bounds_hold_without_a_cache() -> None:
    """Where each step passes the whole text again, the same positions are changed."""
    adapters = fired([0, 1])
    adapters.bound({0: 1, 1: 2})
    assert acted(adapters, past=0, length=6) == [
        [*[False] * 2, True, *[False] * 3],
        [False] * 2 + [True] * 2 + [False] * 2,
    ]
