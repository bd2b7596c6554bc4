"""Gradient descent as every fit does it."""

import pytest
import torch

from sola_scale.keys.descent import Descent


@pytest.mark.parametrize("warm_up", [0.05, 0.1])
def test_any_number_of_steps_can_be_made(warm_up):
    """Whatever the number of steps, all of them are made, and none goes nowhere."""
    for steps in range(1, 45):
        parameter_2 = torch.nn.Parameter(torch.zeros(2))
        group = {"params": [parameter_2], "lr": 0.01}
        descend = Descent([group], steps=steps, decay=0.0, warm_up=warm_up)
        for _ in range(steps):
            before_2 = parameter_2.detach().clone()
            descend((parameter_2 - 1).square().sum())
            assert (parameter_2 > before_2).all()


def test_the_rate_rises_and_falls_once():
    """Steps grow to the group's highest rate, and shrink from there on."""
    parameter_1 = torch.nn.Parameter(torch.zeros(1))
    descend = Descent([{"params": [parameter_1], "lr": 0.01}], steps=50, decay=0.0, warm_up=0.2)
    places = [0.0]
    for _ in range(50):
        descend(-parameter_1.sum())
        places.append(parameter_1.item())
    moved = torch.tensor(places).diff()
    peak = int(moved.argmax())
    assert 5 < peak < 15
    assert moved[peak] == pytest.approx(0.01, rel=0.15)
    assert (moved[:peak].diff() > 0).all()
    assert (moved[peak:].diff() < 0).all()


def test_gradients_are_cut_together():
    """A gradient longer than the limit is brought to its length, over all groups; without a limit it stays."""
    for clip, length in ((1.0, 1.0), (None, 50.0)):
        parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        groups = [{"params": [one], "lr": 0.01} for one in parameters]
        descend = Descent(groups, steps=5, decay=0.0, clip=clip)
        descend(30 * parameters[0].sum() + 40 * parameters[1].sum())
        gradient_2 = torch.cat([one.grad for one in parameters])
        assert gradient_2.norm().item() == pytest.approx(length, rel=1e-4)
