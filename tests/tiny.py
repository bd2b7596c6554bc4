"""Tiny random models and a byte-level tokenizer, built in process: no download, milliseconds to make."""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from sola_scale.backbone import Backbone, load_backbone

_SPECIALS = ["<pad>", "<bos>", "<eos>", "<unk>"]
_COMMON = {
    "vocab_size": 260,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
CONFIGS: dict[str, type[PretrainedConfig]] = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "mistral": MistralConfig,
    "gemma2": Gemma2Config,
    "phi": PhiConfig,
    "phi3": Phi3Config,
    "gpt2": GPT2Config,
}


def byte_tokenizer() -> Any:
    """A tokenizer of 4 specials and 256 bytes that round-trips any text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(_SPECIALS + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )


def tiny_config(family: str, **overrides: Any) -> PretrainedConfig:
    """The configuration of a tiny model of ``family``; the init is wide enough for an edit to fit."""
    if family == "gpt2":
        shape: dict[str, Any] = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 256, "n_inner": 128}
    elif family == "gemma2":
        shape = {**_SHAPE, "head_dim": 16, "sliding_window": 128}
    else:
        shape = dict(_SHAPE)
    return CONFIGS[family](**{**_COMMON, **shape, **overrides})


def tiny_backbone(
    family: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32, **overrides: Any
) -> Backbone:
    """A tiny random model with its tokenizer, ready for editing."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, **overrides)).to(dtype)
    return load_backbone((model, byte_tokenizer()))


def tiny_recipe(threshold_distance: float = 0.4) -> Any:
    """A recipe for tiny models: late layers, few steps, a raw mean-pooled key compared by distance."""
    import numpy as np

    from sola_scale.backbone import View, fingerprint
    from sola_scale.keys import Calibration
    from sola_scale.keys.heads import Head
    from sola_scale.lora.layout import AdapterLayout
    from sola_scale.lora.training import TrainingConfig
    from sola_scale.recipes import Recipe

    def layouts(backbone: Backbone) -> tuple[AdapterLayout, ...]:
        paths = [backbone.architecture.module_path(layer) for layer in (2, 3)]
        return AdapterLayout.of(backbone, paths, rank=2), AdapterLayout.of(backbone, paths, rank=8)

    def calibration(backbone: Backbone, _layer: int) -> Calibration:
        width = backbone.architecture.width
        head = Head(view=0, centre_D=np.zeros(width, np.float32), matrix_DK=np.eye(width, dtype=np.float32))
        return Calibration(
            views=(View(1, "mean"),),
            retrieval=head,
            matchers=(),
            listwise=None,
            threshold=0.5,
            false_fire=0.01,
            model=fingerprint(backbone)["model"],
            distance_scale=threshold_distance,
        )

    return Recipe(
        name="default", layouts=layouts, training=TrainingConfig(batch_size=8), calibration=calibration
    )
