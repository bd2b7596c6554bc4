"""PEFT interchange: what we write PEFT loads with our logits, and what PEFT writes we read as an edit."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from sola_scale.backbone import Backbone
from sola_scale.backbone.head import Head
from sola_scale.backbone.prefix import PrefixCapture
from sola_scale.backbone.suffix import SuffixRunner
from sola_scale.errors import RequestError
from sola_scale.lora.adapter import Adapter
from sola_scale.lora.interchange import export_peft, import_peft
from sola_scale.lora.layout import AdapterLayout
from tests.tiny import CONFIGS, tiny_backbone

IDS = [7, 60, 61, 62]


def random_adapter(layout: AdapterLayout) -> Adapter:
    """An adapter that visibly changes the logits."""
    torch.manual_seed(3)
    return Adapter(
        layout_index=0,
        a_rI=tuple(torch.randn(layout.rank, one.d_in) * 0.2 for one in layout.modules),
        b_rO=tuple(torch.randn(layout.rank, one.d_out) * 0.2 for one in layout.modules),
    )


def our_logits(backbone: Backbone, layout: AdapterLayout, adapter: Adapter) -> torch.Tensor:
    """Logits of a prompt of one token and an answer: the edit acts from the first position on, as PEFT's LoRA does."""
    first = int(layout.paths[0].split(".")[2])
    prefix = PrefixCapture(backbone, layout.paths, first, ()).run([(IDS[:1], IDS[1:])])
    runner = SuffixRunner(backbone, layout.paths, first)
    a, b = [a.unsqueeze(0) for a in adapter.a_rI], [b.unsqueeze(0) for b in adapter.b_rO]
    with torch.no_grad():
        return Head(backbone).full(runner.run(runner.stack(prefix), a, b))[0]


def two_maps(backbone: Backbone, rank: int = 2) -> AdapterLayout:
    """One attention and one MLP projection."""
    parts = backbone.architecture
    return AdapterLayout.of(
        backbone, [parts.module_path(2, parts.attention_projection), parts.module_path(3)], rank=rank
    )


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_peft_loads_what_we_export_with_our_logits(family: str, tmp_path: Path) -> None:
    """A folder of ours, loaded by PEFT onto the same model, gives the logits that the edit gives."""
    backbone = tiny_backbone(family)
    layout = two_maps(backbone)
    adapter = random_adapter(layout)
    ours = our_logits(backbone, layout, adapter)
    with torch.no_grad():
        base = backbone.model(torch.tensor([IDS])).logits[0].clone()
    export_peft(adapter, layout, backbone, tmp_path, prompt="p", target="t")
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(backbone.model, str(tmp_path))(torch.tensor([IDS])).logits[0]
    assert (theirs - base).abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"use_rslora": True},
        {"alpha_pattern": {"3.mlp.down_proj": 9}},
        {"rank_pattern": {"3.mlp.down_proj": 1}},
    ],
)
def test_we_import_what_peft_saves_with_its_logits(extra: dict, tmp_path: Path) -> None:
    """An adapter saved by PEFT, whatever its scaling, becomes an edit with the same logits, padded to the store's rank."""
    backbone = tiny_backbone()
    layout = two_maps(backbone, rank=4)
    config = LoraConfig(
        r=2, lora_alpha=5, target_modules=list(layout.paths), init_lora_weights=False, **extra
    )
    theirs = get_peft_model(tiny_backbone().model, config)
    theirs.save_pretrained(str(tmp_path))
    with torch.no_grad():
        expected = theirs(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(
        our_logits(backbone, layout, import_peft(tmp_path, [layout])), expected, rtol=1e-3, atol=1e-3
    )


def test_export_and_import_are_inverse(tmp_path: Path) -> None:
    """An exported edit comes back number by number, in the first layout that holds it."""
    backbone = tiny_backbone()
    layout = two_maps(backbone)
    adapter = random_adapter(layout)
    export_peft(adapter, layout, backbone, tmp_path)
    other = AdapterLayout.of(backbone, [backbone.architecture.module_path(1)])
    found = import_peft(tmp_path, [other, layout])
    assert found.layout_index == 1
    assert all(
        torch.equal(one, two)
        for one, two in zip(found.a_rI + found.b_rO, adapter.a_rI + adapter.b_rO, strict=True)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"r": 0},
        {"r": "x"},
    ],
)
def test_what_is_no_plain_lora_is_refused(change: dict, tmp_path: Path) -> None:
    """Adapters that do more than a low-rank change, or a malformed configuration, are refused by name."""
    backbone = tiny_backbone()
    layout = two_maps(backbone)
    export_peft(random_adapter(layout), layout, backbone, tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(RequestError):
        import_peft(tmp_path, [layout])


def test_a_rank_or_map_that_no_layout_holds_is_refused(tmp_path: Path) -> None:
    """Nothing is cut off to make an adapter fit."""
    backbone = tiny_backbone()
    layout = two_maps(backbone, rank=3)
    export_peft(random_adapter(layout), layout, backbone, tmp_path)
    with pytest.raises(RequestError, match="rank"):
        import_peft(tmp_path, [two_maps(backbone, rank=2)])
    with pytest.raises(RequestError, match="mlp"):
        import_peft(tmp_path, [AdapterLayout.of(backbone, [backbone.architecture.module_path(1)], rank=8)])


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    """No folder, no weights, broken weights, lonely or infinite matrices: each is a RequestError."""
    backbone = tiny_backbone()
    layout = two_maps(backbone)
    with pytest.raises(RequestError):
        import_peft(tmp_path / "nothing", [layout])
    export_peft(random_adapter(layout), layout, backbone, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(iter(weights))
    for bad in (
        {k: v for k, v in weights.items() if k != name},
        weights | {name: weights[name] * float("inf")},
    ):
        save_file(bad, file)
        with pytest.raises(RequestError):
            import_peft(tmp_path, [layout])
    file.write_bytes(b"broken")
    with pytest.raises(RequestError):
        import_peft(tmp_path, [layout])
