"""Networks: dropout of one's own stream."""

import torch

from sola_scale.keys.network import Drop, EncoderNetwork, draw_from


def test_dropout_keeps_the_mean_and_drops_the_share():
    """Of many ones about the given share becomes 0, and the mean stays 1; in use nothing changes."""
    drop, ones = Drop(0.2), torch.ones(100_000)
    dropped = drop(ones)
    assert abs(float((dropped == 0).float().mean()) - 0.2) < 0.01
    assert abs(float(dropped.mean()) - 1) < 0.01
    assert torch.equal(drop.eval()(ones), ones)


def test_dropout_draws_from_the_generator_it_is_given():
    """Equal generators drop the same, and torch's own stream is not drawn from."""
    encoder, white = EncoderNetwork(2, 5), torch.ones(7, 2, 5)
    before, encoded = torch.random.get_rng_state(), []
    for seed in (0, 0, 1):
        draw_from(torch.Generator().manual_seed(seed), encoder)
        encoded.append(encoder(white))
    assert torch.equal(encoded[0], encoded[1])
    assert not torch.equal(encoded[0], encoded[2])
    assert torch.equal(torch.random.get_rng_state(), before)
