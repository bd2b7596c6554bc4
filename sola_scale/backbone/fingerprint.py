"""Fingerprints: short hashes that bind a store to the base model and tokenizer it was made with."""

import json

import torch
import xxhash
from torch import Tensor

from sola_scale.backbone.loading import Backbone

# Elements hashed of each tensor: a fine-tune moves nearly all of them, and whole 8B models need not be read.
_SAMPLE = 4096


def fingerprint(backbone: Backbone) -> dict[str, str]:
    """Hash the model (structure, dtype, a sample of every weight tensor) and the tokenizer (all of it)."""
    return {"model": _model_hash(backbone), "tokenizer": _tokenizer_hash(backbone)}


def _model_hash(backbone: Backbone) -> str:
    digest = xxhash.xxh3_128()
    for name, weight in sorted(backbone.model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(_sample(weight))
    return digest.hexdigest()


def _sample(weight: Tensor) -> bytes:
    flat = weight.detach().reshape(-1)
    picked = flat[:: max(1, len(flat) // _SAMPLE)].contiguous().cpu()
    return picked.view(torch.uint8).numpy().tobytes()


def _tokenizer_hash(backbone: Backbone) -> str:
    tokenizer = backbone.tokenizer
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        # These two are switches of the last call, no part of the vocabulary.
        described.pop("padding", None)
        described.pop("truncation", None)
    else:
        described = dict(sorted(tokenizer.get_vocab().items()))
    return xxhash.xxh3_128(json.dumps(described, sort_keys=True).encode()).hexdigest()
