"""The taps: a decision inside the forward pass, pinned to its sequence, acting from the last prompt position on."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from sola_scale.backbone import Backbone, ForwardCall, Taps, View, capture_views, pool
from sola_scale.backbone.reading import Reading
from sola_scale.errors import ModelError
from tests.tiny import tiny_backbone

VIEWS = (View(1, "mean"), View(2, "last"))
PROMPTS = ["The capital of France is", "Hi", "A somewhat longer prompt than the others"]


class Push:
    """An action that adds a fixed direction to every output it may touch."""

    def __init__(self, rows_F: Tensor, size: float = 5.0) -> None:
        self.rows_F, self.size = rows_F, size

    def apply(self, module: str, call: ForwardCall, input_BTI: Tensor, output_BTO: Tensor) -> None:
        push_O = self.size * torch.linspace(-1, 1, output_BTO.shape[-1])
        if call.prefill:
            output_BTO[self.rows_F, call.prompt_columns(self.rows_F)] += push_O
            return
        reach_FT = call.reach(self.rows_F)
        pushed_FTO = output_BTO[self.rows_F] + push_O
        if reach_FT is not None:
            pushed_FTO = torch.where(reach_FT.unsqueeze(-1), pushed_FTO, output_BTO[self.rows_F])
        output_BTO[self.rows_F] = pushed_FTO


class Decider:
    """Fires a `Push` on the rows that ``choose`` picks, and keeps what it was shown."""

    def __init__(self, choose: Callable[[int], list[int]]) -> None:
        self.choose = choose
        self.seen: list[dict[View, Tensor]] = []

    def __call__(self) -> "Decider.Run":
        self.seen.append({})
        return Decider.Run(self, self.seen[-1])

    class Run:
        def __init__(self, owner: "Decider", seen: dict[View, Tensor]) -> None:
            self.owner, self.seen = owner, seen
            self.views = VIEWS

        def observe(self, view: View, pooled_BD: Tensor) -> None:
            self.seen[view] = pooled_BD.clone()

        def conclude(self) -> Push | None:
            rows = self.owner.choose(len(next(iter(self.seen.values()))))
            return Push(torch.tensor(rows)) if rows else None


def tap(backbone: Backbone, decider: Decider, layers: tuple[int, ...] = (2, 3)) -> Taps:
    modules = [backbone.architecture.module_path(layer) for layer in layers]
    return Taps(backbone, views=VIEWS, modules=modules, decision_layer=layers[0], decide=decider)


@pytest.fixture(params=["llama", "gpt2"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return tiny_backbone(request.param)


@pytest.fixture
def tapped(backbone: Backbone) -> Iterator[tuple[Backbone, Decider, Taps]]:
    decider = Decider(lambda _rows: [1])
    taps = tap(backbone, decider)
    yield backbone, decider, taps
    taps.close()


def logits(backbone: Backbone, prompts: list[str]) -> Tensor:
    ids_BT, mask_BT = backbone.encode(prompts)
    with torch.no_grad():
        return backbone.model(input_ids=ids_BT, attention_mask=mask_BT).logits


def test_rows_that_fire_nothing_keep_the_bits_of_the_base_model(
    tapped: tuple[Backbone, Decider, Taps],
) -> None:
    """A row that fires nothing has bit-identical logits to the base model's in the same batch."""
    backbone, _, taps = tapped
    routed_BTV = logits(backbone, PROMPTS)
    with taps.disabled():
        base_BTV = logits(backbone, PROMPTS)
    assert torch.equal(routed_BTV[[0, 2]], base_BTV[[0, 2]])
    assert not torch.equal(routed_BTV[1, -1], base_BTV[1, -1])


def test_positions_before_the_last_prompt_token_stay_the_base_models(
    tapped: tuple[Backbone, Decider, Taps],
) -> None:
    """A fired edit changes nothing before the last prompt position: logits and the whole key-value cache."""
    backbone, _, taps = tapped
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    with torch.no_grad():
        routed = backbone.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=True)
        with taps.disabled():
            base = backbone.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=True)
    assert torch.equal(routed.logits[:, :-1], base.logits[:, :-1])
    for ours, theirs in zip(routed.past_key_values.layers, base.past_key_values.layers, strict=True):
        assert torch.equal(ours.keys[:, :, :-1], theirs.keys[:, :, :-1])
        assert torch.equal(ours.values[:, :, :-1], theirs.values[:, :, :-1])


def test_padding_side_does_not_move_the_edit(tapped: tuple[Backbone, Decider, Taps]) -> None:
    """Under right padding the edit acts at each row's own last token."""
    backbone, _, taps = tapped
    backbone.tokenizer.padding_side = "right"
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    last = int(mask_BT[1].sum()) - 1
    with torch.no_grad():
        routed_BTV = backbone.model(input_ids=ids_BT, attention_mask=mask_BT).logits
        with taps.disabled():
            base_BTV = backbone.model(input_ids=ids_BT, attention_mask=mask_BT).logits
    changed_T = (routed_BTV[1] != base_BTV[1]).any(dim=-1)
    assert not changed_T[:last].any()
    assert changed_T[last]


def test_views_are_those_of_an_untapped_pass(tapped: tuple[Backbone, Decider, Taps]) -> None:
    """The pooled views equal the model's own hidden states, pooled."""
    backbone, decider, taps = tapped
    logits(backbone, PROMPTS)
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    with taps.disabled(), torch.no_grad():
        hidden = backbone.model(
            input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True
        ).hidden_states
    reading = Reading(backbone.spelling, ids_BT, mask_BT)
    for view in VIEWS:
        torch.testing.assert_close(
            decider.seen[0][view], pool(hidden[view.layer], mask_BT, view.pooling, reading)
        )


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 5}, {"use_cache": False}]
)
def test_generation_routes_once_and_keeps_its_route(
    tapped: tuple[Backbone, Decider, Taps], options: dict[str, object]
) -> None:
    """Greedy, beam, sampled and cacheless generation each decide once; unfired rows say what the base model says."""
    backbone, decider, taps = tapped
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    arguments = {
        "input_ids": ids_BT,
        "attention_mask": mask_BT,
        "max_new_tokens": 5,
        "min_new_tokens": 5,
        **options,
    }
    beams = int(options.get("num_beams", 1))
    decider.choose = lambda rows: list(range(rows))[beams : 2 * beams]
    torch.manual_seed(1)
    routed = backbone.model.generate(**arguments)
    assert len(decider.seen) == 1
    with taps.disabled():
        torch.manual_seed(1)
        base = backbone.model.generate(**arguments)
    if "do_sample" not in options:
        assert torch.equal(routed[[0, 2]], base[[0, 2]])
    assert not torch.equal(routed[1], base[1])


def test_cached_and_cacheless_generation_agree(tapped: tuple[Backbone, Decider, Taps]) -> None:
    """An edit says the same with and without the key-value cache."""
    backbone, _, _ = tapped
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    arguments = {"input_ids": ids_BT, "attention_mask": mask_BT, "max_new_tokens": 6, "min_new_tokens": 6}
    cached = backbone.model.generate(**arguments)
    cacheless = backbone.model.generate(**arguments, use_cache=False)
    assert torch.equal(cached, cacheless)


def test_a_hand_written_decode_loop_keeps_its_route(tapped: tuple[Backbone, Decider, Taps]) -> None:
    """Forward calls outside ``generate`` find their route again by their key-value cache."""
    backbone, decider, _ = tapped
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    with torch.no_grad():
        first = backbone.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=True)
        next_B1 = first.logits[:, -1:].argmax(dim=-1)
        longer_BT = torch.cat([mask_BT, torch.ones_like(next_B1)], dim=1)
        backbone.model(input_ids=next_B1, attention_mask=longer_BT, past_key_values=first.past_key_values)
        assert len(decider.seen) == 1
        backbone.model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=True)
    assert len(decider.seen) == 2


def test_threads_do_not_meet(backbone: Backbone) -> None:
    """Two threads on one model each keep the route of their own call."""
    per_thread = threading.local()
    decider = Decider(lambda _rows: per_thread.rows)
    taps = tap(backbone, decider)
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    arguments = {"input_ids": ids_BT, "attention_mask": mask_BT, "max_new_tokens": 4, "min_new_tokens": 4}
    answers: dict[int, list[Tensor]] = {1: [], 2: []}

    def work(row: int) -> None:
        per_thread.rows = [row]
        answers[row] += [backbone.model.generate(**arguments) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(row,)) for row in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with taps.disabled():
        base = backbone.model.generate(**arguments)
    taps.close()
    for row, results in answers.items():
        assert all(torch.equal(result[3 - row], base[3 - row]) for result in results)
        assert all(not torch.equal(result[row], base[row]) for result in results)


def test_closing_gives_the_model_back(backbone: Backbone) -> None:
    """After ``close`` the model is the base model and may be tapped anew; two editors at once are refused."""
    before_BTV = logits(backbone, PROMPTS)
    taps = tap(backbone, Decider(lambda _rows: [0]))
    with pytest.raises(ModelError, match="another editor"):
        tap(backbone, Decider(lambda _rows: [0]))
    taps.close()
    assert torch.equal(logits(backbone, PROMPTS), before_BTV)
    tap(backbone, Decider(lambda _rows: [0])).close()


def test_a_view_beyond_the_decision_is_refused(backbone: Backbone) -> None:
    """A view may not lie beyond the input of the first edited layer."""
    with pytest.raises(ModelError, match="beyond"):
        tap(backbone, Decider(lambda _rows: []), layers=(1, 3))


def test_an_error_in_the_model_leaves_no_call_behind(tapped: tuple[Backbone, Decider, Taps]) -> None:
    """A forward pass that raises does not poison the next one."""
    backbone, decider, _ = tapped
    with pytest.raises(IndexError), torch.no_grad():
        backbone.model(input_ids=torch.tensor([[10_000]]))
    logits(backbone, PROMPTS)
    assert len(decider.seen[-1]) == len(VIEWS)


def test_capturing_views_does_not_disturb_other_threads(backbone: Backbone) -> None:
    """Views captured in one thread are its own prompts', and a generation in another thread is what it is alone."""
    taps = tap(backbone, Decider(lambda _rows: [0]))
    ids_BT, mask_BT = backbone.encode(PROMPTS)
    arguments = {"input_ids": ids_BT, "attention_mask": mask_BT, "max_new_tokens": 6, "min_new_tokens": 6}
    alone, views_BVD = backbone.model.generate(**arguments), capture_views(backbone, PROMPTS[:2], VIEWS)
    with ThreadPoolExecutor(2) as pool_of_two:
        generations = [pool_of_two.submit(backbone.model.generate, **arguments) for _ in range(6)]
        captures = [pool_of_two.submit(capture_views, backbone, PROMPTS[:2], VIEWS) for _ in range(30)]
    taps.close()
    assert all(torch.equal(one.result(), alone) for one in generations)
    assert all(torch.equal(one.result(), views_BVD) for one in captures)
