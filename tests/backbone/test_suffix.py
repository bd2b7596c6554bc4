"""The prefix capture and the suffix run: together they are the model's own forward pass, edited where an edit may act."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sola_scale.backbone import Backbone, View, capture_views, features, suffix
from sola_scale.backbone.head import Head
from sola_scale.backbone.prefix import Prefix, PrefixCapture
from sola_scale.backbone.suffix import SuffixRunner
from tests.tiny import CONFIGS, tiny_backbone

SEQUENCES = [([5, 9, 30, 41, 17], [60, 61]), ([8], [70, 71, 72]), ([100, 20, 33], [90])]
FIRST = 2


def edited_paths(backbone: Backbone) -> list[str]:
    """An attention projection in one layer and an MLP projection in the next."""
    parts = backbone.architecture
    return [parts.module_path(FIRST, parts.attention_projection), parts.module_path(FIRST + 1)]


def changes(backbone: Backbone, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Random rank-2 changes, one per row and map."""
    torch.manual_seed(1)
    maps = [backbone.model.get_submodule(path) for path in edited_paths(backbone)]
    dtype = torch.promote_types(backbone.dtype, torch.float32)
    widths = [features(one) for one in maps]
    a = [torch.randn(count, 2, d_in, dtype=dtype) * 0.1 for d_in, _ in widths]
    return a, [torch.randn(count, 2, d_out, dtype=dtype) * 0.1 for _, d_out in widths]


def whole_model(backbone: Backbone, row: int, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The model's own logits for one row, the change hooked in from the last prompt position on."""
    prompt, target = SEQUENCES[row]
    handles = []
    for path, down, up in zip(edited_paths(backbone), a, b, strict=True):

        def act(_module, args, output, down=down[row], up=up[row]):
            output = output.clone()
            delta = args[0][:, len(prompt) - 1 :].to(down.dtype) @ down.T @ up
            output[:, len(prompt) - 1 :] += delta.to(output.dtype)
            return output

        handles.append(backbone.model.get_submodule(path).register_forward_hook(act))
    try:
        with torch.no_grad():
            logits: Tensor = backbone.model(torch.tensor([[*prompt, *target]])).logits
    finally:
        for handle in handles:
            handle.remove()
    return logits[0, len(prompt) - 1 :]


def captured(backbone: Backbone, views: Sequence[View] = ()) -> list[Prefix]:
    """The prefixes of all sequences, from one batch."""
    return PrefixCapture(backbone, edited_paths(backbone), FIRST, views).run(SEQUENCES)


@pytest.mark.parametrize("family", sorted(CONFIGS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_suffix_run_equals_the_whole_model(family: str, dtype: torch.dtype) -> None:
    """Rows of unlike lengths in one suffix run give the logits that the whole model gives each of them alone."""
    backbone = tiny_backbone(family, dtype=dtype)
    a, b = changes(backbone, len(SEQUENCES))
    runner = SuffixRunner(backbone, edited_paths(backbone), FIRST)
    with torch.no_grad():
        logits_RSW = Head(backbone).full(runner.run(runner.stack(captured(backbone)), a, b))
    for row, (_, target) in enumerate(SEQUENCES):
        expected = whole_model(backbone, row, a, b).float()
        found = logits_RSW[row, : len(target) + 1]
        tolerance = 1e-4 if dtype == torch.float32 else 0.05
        scale = float(expected.abs().max())
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_a_settled_attention_gives_what_running_it_gives(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving out the first layer's attention, whose inputs no edit changes, alters neither states nor gradients."""
    backbone = tiny_backbone(family, dtype=torch.float64)
    prefixes = captured(backbone)

    def run() -> list[Tensor]:
        a, b = changes(backbone, len(SEQUENCES))
        leaves = [one.requires_grad_() for one in (*a, *b)]
        runner = SuffixRunner(backbone, edited_paths(backbone), FIRST)
        output_RSD = runner.run(runner.stack(prefixes), a, b)
        kept = [row[: len(target) + 1] for row, (_, target) in zip(output_RSD, SEQUENCES, strict=True)]
        return [torch.cat(kept).detach(), *torch.autograd.grad(torch.cat(kept).square().sum(), leaves)]

    settled = run()
    monkeypatch.setattr(suffix, "_settled_map", lambda *_: None)
    # Gemma's norms compute in float32 whatever the model's own format is.
    tolerance = 1e-5 if family == "gemma2" else 1e-9
    for found, expected in zip(settled, run(), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_an_attention_that_is_edited_inside_is_run() -> None:
    """Where an edit changes more of the first layer's attention than its output projection, the attention runs."""
    backbone = tiny_backbone()
    paths = [
        backbone.architecture.module_path(FIRST, name) for name in ("self_attn.v_proj", "self_attn.o_proj")
    ]
    prefixes = PrefixCapture(backbone, paths, FIRST, ()).run(SEQUENCES)
    runner = SuffixRunner(backbone, paths, FIRST)
    assert runner.stack(prefixes).settled is None
    zeros = [[torch.zeros(3, 1, width) for width in widths] for widths in ((64, 64), (32, 64))]
    with torch.no_grad():
        output_RSD = runner.run(runner.stack(prefixes), *zeros)
    torch.testing.assert_close(output_RSD[0, :3], prefixes[0].output_SD, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "phi"])
def test_an_answer_after_an_open_context_equals_a_run_of_both(family: str) -> None:
    """Following an open context gives the prefix that one pass over prompt and answer gives."""
    backbone = tiny_backbone(family)
    capture = PrefixCapture(backbone, edited_paths(backbone), FIRST, ())
    prompt, answers = [5, 9, 30, 41], [[60, 61], [70]]
    together = capture.run([(prompt, answer) for answer in answers])
    for found, expected in zip(capture.follow(capture.open(prompt), answers), together, strict=True):
        assert found.position == expected.position
        torch.testing.assert_close(found.hidden_SD, expected.hidden_SD, rtol=1e-4, atol=1e-4)
        for layer, pair in expected.cache.items():
            torch.testing.assert_close(found.cache[layer], pair, rtol=1e-4, atol=1e-4)
        for one, other in zip(found.inputs_SI, expected.inputs_SI, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_views_are_those_of_the_prompt_alone() -> None:
    """The target behind a prompt does not show in the prompt's views."""
    backbone = tiny_backbone()
    views = (View(1, "mean"), View(FIRST, "last"), View(4, "mean"))
    texts = ["The capital of France is", "Who?"]
    encoded = [backbone.tokenizer(text)["input_ids"] for text in texts]
    prefixes = PrefixCapture(backbone, edited_paths(backbone), FIRST, views).run(
        [(ids, [60, 61]) for ids in encoded]
    )
    found = torch.stack([prefix.views_VD for prefix in prefixes])
    torch.testing.assert_close(found, capture_views(backbone, texts, views), rtol=1e-4, atol=1e-4)


def test_hooks_of_the_model_are_not_met() -> None:
    """Hooks that others put on the model's modules neither see nor change what training runs."""
    backbone = tiny_backbone()
    before = captured(backbone)[0].output_SD

    def loud(*_: object) -> None:
        pytest.fail("a hook of the model was called")

    handles = [module.register_forward_hook(loud) for module in backbone.architecture.decoder.modules()]
    try:
        assert torch.equal(captured(backbone)[0].output_SD, before)
    finally:
        for handle in handles:
            handle.remove()


def test_the_model_keeps_its_modules() -> None:
    """Preparing and running leaves the model itself as it was, module by module and bit by bit."""
    backbone = tiny_backbone()
    modules = dict(backbone.model.named_modules())
    ids = torch.tensor([[5, 9, 30]])
    with torch.no_grad():
        logits = backbone.model(ids).logits
        a, b = changes(backbone, len(SEQUENCES))
        runner = SuffixRunner(backbone, edited_paths(backbone), FIRST)
        runner.run(runner.stack(captured(backbone)), a, b)
        assert torch.equal(backbone.model(ids).logits, logits)
    assert dict(backbone.model.named_modules()) == modules


def test_shortlisted_logits_are_the_full_ones() -> None:
    """The restricted head gives the same logits as the whole one, bias included."""
    backbone = tiny_backbone("phi")
    torch.nn.init.normal_(backbone.architecture.head.bias)
    head, output_RSD = Head(backbone), torch.randn(2, 3, 64)
    ids_RK = torch.tensor([[1, 7, 200], [3, 4, 5]])
    some_RSK = head.some(output_RSD, head.rows(ids_RK))
    full_RSW = head.full(output_RSD)
    for row in range(2):
        torch.testing.assert_close(some_RSK[row], full_RSW[row][:, ids_RK[row]])
