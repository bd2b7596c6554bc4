"""Cross-encoders that were never trained, and prompts as their tokens."""

from collections.abc import Sequence

import numpy as np

from sola_scale.backbone import Backbone
from sola_scale.backbone.lower import LowerLayers
from sola_scale.keys.alignment import Spelled
from sola_scale.keys.cross_encoder import Adapter, Blend, CrossEncoder
from sola_scale.keys.cross_fitting import DOUBT
from sola_scale.keys.cross_training import CrossConfig, Trained

BLEND = Blend(0.5, 1.0, 0.25)
TINY = CrossConfig(depth=2, lowest=0, rank=4, batch=8)


def cross_of(
    backbone: Backbone,
    *,
    seed: int = 0,
    depth: int = 2,
    doubt: tuple[float, float] = (-2.0, 2.0),
    blend: Blend = BLEND,
) -> CrossEncoder:
    """A cross-encoder of random arrays, whose logits are some units apart."""
    rng = np.random.default_rng(seed)
    adapters = {
        path: Adapter(
            rng.normal(size=(2, d_in)).astype(np.float16),
            0.1 * rng.normal(size=(d_out, 2)).astype(np.float16),
        )
        for path, (d_in, d_out) in LowerLayers(backbone, depth).adaptable(1).items()
    }
    head_D = rng.normal(size=backbone.architecture.width).astype(np.float32) / 4
    return CrossEncoder(
        depth=depth, separator=2, adapters=adapters, head_D=head_D, bias=0.5, doubt=doubt, blend=blend
    )


def encoder_of(made: Trained) -> CrossEncoder:
    """What was trained, as a cross-encoder that counts alone."""
    return CrossEncoder(
        depth=TINY.depth,
        separator=2,
        adapters=made.adapters,
        head_D=made.head_D,
        bias=made.bias,
        doubt=DOUBT,
        blend=Blend(0.0, 1.0, 0.0),
    )


def spelled_of(prompts: Sequence[Sequence[int]]) -> Spelled:
    """Prompts as keys hold their tokens: the last one first, and nothing behind the first one."""
    places = max(map(len, prompts))
    there_PT = np.array([[place < len(one) for place in range(places)] for one in prompts])
    token_PT = np.array([[*one[::-1], *[0] * (places - len(one))] for one in prompts], dtype=np.int64)
    return Spelled(token_PT, np.zeros_like(there_PT), there_PT)
