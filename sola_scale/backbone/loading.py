"""A base model with its tokenizer, made ready for editing: loaded, frozen, described, fingerprinted."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sola_scale.backbone.architecture import Architecture, describe
from sola_scale.backbone.smollm2 import NAME as DEFAULT_MODEL
from sola_scale.backbone.smollm2 import bundled_model
from sola_scale.backbone.spelling import Spelling
from sola_scale.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A frozen causal language model and what the other rooms need to know of it."""

    name: str
    """What the user called the model: ``smollm2``, a folder, a hub id."""
    model: Any
    """The transformers model, in eval mode; no parameter requires a gradient."""
    tokenizer: Any
    """Its tokenizer, padding on the left with a pad token set."""
    architecture: Architecture
    """Where its parts are."""
    spelling: Spelling
    """How its tokens make up words."""
    _tokenizing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """The device the weights lie on."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self._weight.dtype

    @property
    def context_length(self) -> int:
        """Longest sequence of tokens the model takes."""
        return int(self.model.config.get_text_config(decoder=True).max_position_embeddings)

    @property
    def end_of_turn(self) -> int:
        """Id of the token that ends an answer: free generation stops at it."""
        configured = self.model.generation_config.eos_token_id
        if configured is None:
            configured = self.tokenizer.eos_token_id
        return int(configured[0] if isinstance(configured, list) else configured)

    @property
    def _weight(self) -> torch.Tensor:
        weight: torch.Tensor = next(self.model.parameters())
        return weight

    def encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokenize a batch, padded on the left: ``(ids_BT, mask_BT)`` on the model's device."""
        # how a tokenizer pads is its own state: another thread must not change it meanwhile
        with self._tokenizing:
            batch = self.tokenizer(list(prompts), return_tensors="pt", padding=True)
        return batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device)

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """How many tokens each prompt has."""
        with self._tokenizing:
            return [len(tokens) for tokens in self.tokenizer(list(prompts))["input_ids"]]


def load_backbone(
    model: str | Path | tuple[Any, Any],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Backbone:
    """Load and freeze a base model.

    Args:
        model: ``"smollm2"`` for the bundled default, a folder, a hub id, or a loaded ``(model, tokenizer)`` pair,
            which stays where it is and in its own dtype.
        device: where to put a model loaded here; CUDA if present, else CPU.
        dtype: number format of a model loaded here.
        trust_remote_code: run code that comes with the model. Off unless the user says so.

    Raises:
        ModelError: the model cannot be loaded or its architecture is not known.
        DependencyError: the default model's package is not installed.
    """
    if isinstance(model, tuple):
        loaded, tokenizer = model
        name = str(getattr(loaded.config, "_name_or_path", "") or type(loaded).__name__)
    else:
        name = str(model)
        loaded, tokenizer = _from_pretrained(name, dtype, trust_remote_code=trust_remote_code)
        loaded.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    loaded.eval().requires_grad_(requires_grad=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return Backbone(
        name=name,
        model=loaded,
        tokenizer=tokenizer,
        architecture=describe(loaded),
        spelling=Spelling.of(tokenizer),
    )


def _from_pretrained(name: str, dtype: torch.dtype, *, trust_remote_code: bool) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = str(bundled_model()) if name == DEFAULT_MODEL else name
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, trust_remote_code=trust_remote_code
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load the model {name!r}: {error}") from error
    return loaded, tokenizer
