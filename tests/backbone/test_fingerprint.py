"""Fingerprints: what changes them, and what does not."""

import torch

from sola_scale.backbone import fingerprint
from tests.tiny import tiny_backbone


def test_the_same_model_has_the_same_fingerprint() -> None:
    """Two loads of one model agree, whatever the tokenizer padded last."""
    first, second = tiny_backbone(), tiny_backbone()
    second.encode(["a", "longer"])
    assert fingerprint(first) == fingerprint(second)


def test_other_weights_dtype_or_tokenizer_change_it() -> None:
    """Another seed, another dtype or another vocabulary each change their part of the fingerprint."""
    base = fingerprint(tiny_backbone())
    assert fingerprint(tiny_backbone(seed=1))["model"] != base["model"]
    assert fingerprint(tiny_backbone(dtype=torch.bfloat16))["model"] != base["model"]
    extended = tiny_backbone()
    extended.tokenizer.add_tokens(["<more>"])
    assert fingerprint(extended)["tokenizer"] != base["tokenizer"]
    assert fingerprint(extended)["model"] == base["model"]
