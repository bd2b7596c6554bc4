"""PEFT interchange: an edit as an ordinary PEFT adapter folder, and such a folder as an edit.

PEFT adds a LoRA at every position; an edit of ours acts from the last prompt position on. The weights are the same, and
so are the logits wherever both act on the same positions. Shape legend: r rank, I inputs and O outputs of a map.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sola_scale.backbone.loading import Backbone
from sola_scale.errors import RequestError
from sola_scale.lora.adapter import Adapter
from sola_scale.lora.layout import AdapterLayout, ModuleShape

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
_PREFIX = "base_model.model."
_MAX_BYTES = 1 << 30
# What would make the folder more, or something else, than a plain low-rank change of linear maps.
_UNSUPPORTED = (
    "modules_to_save",
    "use_dora",
    "layers_pattern",
    "layer_replication",
    "megatron_config",
    "trainable_token_indices",
)


def export_peft(
    adapter: Adapter,
    layout: AdapterLayout,
    backbone: Backbone,
    folder: str | Path,
    *,
    prompt: str = "",
    target: str = "",
) -> None:
    """Write a folder that ``peft.PeftModel.from_pretrained`` loads.

    Args:
        adapter: the edit's weights.
        layout: the layout they are of.
        backbone: the base model.
        folder: where to write; made if missing.
        prompt: the edit's prompt, kept in the weights file's metadata.
        target: its target, likewise.

    Raises:
        RequestError: the adapter is not of this layout.
    """
    from peft import LoraConfig

    if not adapter.fits(layout):
        raise RequestError("the adapter does not have the shapes of the layout it is exported with")
    maps = [backbone.model.get_submodule(path) for path in layout.paths]
    config = LoraConfig(
        r=layout.rank,
        lora_alpha=layout.rank,
        target_modules=list(layout.paths),
        fan_in_fan_out=not all(isinstance(one, nn.Linear) for one in maps),
        base_model_name_or_path=backbone.name,
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    weights = dict(_named(adapter, layout))
    save_file(
        weights, Path(folder) / WEIGHTS_FILE, metadata={"format": "pt", "prompt": prompt, "target": target}
    )


def import_peft(folder: str | Path, layouts: Sequence[AdapterLayout]) -> Adapter:
    """Read a PEFT LoRA folder as an adapter of the first layout that can hold it.

    A layout can hold it if it names all of its maps and has at least its rank; what is missing is filled with zeros.

    Raises:
        RequestError: the folder is no plain LoRA adapter in safetensors, or no layout can hold it.
    """
    config, weights = _read_config(Path(folder)), _read_weights(Path(folder))
    pairs = _pairs(config, weights)
    for index, layout in enumerate(layouts):
        modules = {module.path: module for module in layout.modules}
        if pairs.keys() <= modules.keys() and all(
            _holds(modules[path], layout.rank, *pair) for path, pair in pairs.items()
        ):
            filled = [_filled(module, layout.rank, pairs.get(module.path)) for module in layout.modules]
            return Adapter(
                layout_index=index, a_rI=tuple(a for a, _ in filled), b_rO=tuple(b for _, b in filled)
            )
    ranks = sorted({int(a.shape[0]) for a, _ in pairs.values()})
    raise RequestError(
        f"no layout of the store holds an adapter of rank {ranks} on {', '.join(sorted(pairs))}; "
        f"the store's layouts: {'; '.join(_described(one) for one in layouts)}"
    )


def _described(layout: AdapterLayout) -> str:
    return f"rank {layout.rank} on {', '.join(layout.paths)}"


def _named(adapter: Adapter, layout: AdapterLayout) -> list[tuple[str, Tensor]]:
    named = []
    for module, (a_rI, b_rO) in zip(layout.modules, adapter.pairs(), strict=True):
        named.append((f"{_PREFIX}{module.path}.lora_A.weight", a_rI.contiguous()))
        named.append((f"{_PREFIX}{module.path}.lora_B.weight", b_rO.T.contiguous()))
    return named


def _read_config(folder: Path) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, ValueError) as error:
        raise RequestError(f"{folder} has no readable {CONFIG_FILE}: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise RequestError(f"{folder} is no PEFT LoRA adapter")
    for name in _UNSUPPORTED:
        if config.get(name):
            raise RequestError(f"{folder} uses {name}, which an edit cannot express")
    if config.get("bias", "none") != "none":
        raise RequestError(f"{folder} trains biases, which an edit cannot express")
    return config


def _read_weights(folder: Path) -> dict[str, Tensor]:
    file = folder / WEIGHTS_FILE
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise RequestError(f"{file} is larger than any adapter that an edit could hold")
        weights: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{file} cannot be read: {error}") from error
    return weights


def _pairs(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return ``(A [r, I], B [r, O])`` by path, the scaling folded into ``B``."""
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    for name, value in weights.items():
        path, _, kind = name.removeprefix(_PREFIX).partition(".lora_")
        if not name.startswith(_PREFIX) or kind not in ("A.weight", "B.weight") or value.dim() != 2:
            raise RequestError(f"{name} is no matrix of a plain LoRA")
        (downs if kind == "A.weight" else ups)[path] = value.float()
    if not downs or downs.keys() != ups.keys():
        raise RequestError("the adapter's weights do not come in pairs")
    if not all(value.isfinite().all() for value in (*downs.values(), *ups.values())):
        raise RequestError("the adapter has weights that are not finite")
    return {path: (downs[path], ups[path].T * _scale(config, path)) for path in downs}


def _scale(config: Mapping[str, Any], path: str) -> float:
    """PEFT's scaling: ``alpha / r``, or ``alpha / sqrt(r)`` for rank-stabilised LoRA; both may differ by map."""
    try:
        rank = float(_by_pattern(config.get("rank_pattern"), path, config["r"]))
        alpha = float(_by_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", config["r"])))
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RequestError(f"the adapter's rank or alpha is malformed: {error!r}") from error


def _by_pattern(patterns: Mapping[str, Any] | None, path: str, default: Any) -> Any:
    """Return the value whose name ends the path, the way PEFT matches plain names."""
    found = [value for name, value in (patterns or {}).items() if path == name or path.endswith(f".{name}")]
    return found[0] if found else default


def _holds(module: ModuleShape, rank: int, a_rI: Tensor, b_rO: Tensor) -> bool:
    own = int(a_rI.shape[0])
    return own <= rank and a_rI.shape == (own, module.d_in) and b_rO.shape == (own, module.d_out)


def _filled(module: ModuleShape, rank: int, pair: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    a_rI, b_rO = torch.zeros(rank, module.d_in), torch.zeros(rank, module.d_out)
    if pair is not None:
        a_rI[: len(pair[0])], b_rO[: len(pair[1])] = pair
    return a_rI, b_rO
