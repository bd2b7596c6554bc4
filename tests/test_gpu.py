"""The whole loop on a GPU against the CPU; the comparison itself is tried on the CPU alone."""

from pathlib import Path

import pytest
import torch

from scripts.gpu_check import Subject, check, real_subject
from sola_scale import EditRequest
from tests.tiny import tiny_backbone, tiny_recipe

REQUESTS = [EditRequest("The capital of France is", "Lyon"), EditRequest("Who wrote Hamlet?", "Bob")]


def tiny_subject() -> Subject:
    """Two edits on a tiny model."""

    def model(device: str) -> object:
        backbone = tiny_backbone()
        backbone.model.to(device)
        return backbone

    return Subject(requests=REQUESTS, others=["zzz 123", "77 + 5"], model=model, recipe=tiny_recipe(0.05))


def test_a_device_agrees_with_itself(tmp_path: Path) -> None:
    """Played with the CPU in the role of the device, every check holds."""
    checks = check(tiny_subject(), "cpu", tmp_path)
    assert len(checks) == 11
    assert [one.claim for one in checks if not one.holds] == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")
def test_a_gpu_agrees_with_the_cpu(tmp_path: Path) -> None:
    """On a tiny model routes, answers and exactness are the same on CUDA."""
    assert [one.claim for one in check(tiny_subject(), "cuda", tmp_path) if not one.holds] == []


@pytest.mark.gpu
@pytest.mark.real
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")
def test_a_gpu_agrees_with_the_cpu_on_the_real_model(tmp_path: Path) -> None:
    """The same holds for real facts on the default model."""
    assert [one.claim for one in check(real_subject("smollm2", 12), "cuda", tmp_path) if not one.holds] == []
