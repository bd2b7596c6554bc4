"""Layouts for models of any depth."""

import pytest

from sola_scale.backbone.reading import DIGITS, TOKEN_DIGITS, TOKENS, WORDS
from sola_scale.keys import default_layout
from sola_scale.keys.judging import MEMBERS
from sola_scale.keys.network import ENCODING


def test_the_default_model_has_its_chosen_views():
    """Thirty layers: eight views to encode, 24 words and tokens, none above the input of layer 26, retrieval at layer 1."""
    layout = default_layout(30)
    assert len(layout.encoded) == 8
    assert max(view.layer for view in layout.views) <= 26
    assert layout.retrieval.layer == 1
    spelled = DIGITS * WORDS + TOKEN_DIGITS * TOKENS
    assert 2 * (layout.retrieval_dim + MEMBERS * ENCODING + spelled) <= 1536


@pytest.mark.parametrize(("layers", "before"), [(4, 2), (12, 9), (30, 26), (80, 70), (2, 1)])
def test_no_view_lies_above_the_first_edited_layer(layers, before):
    """Whatever the depth, every view is known before the first edited layer runs."""
    layers_used = [view.layer for view in default_layout(layers, before).views]
    assert min(layers_used) >= 0
    assert max(layers_used) <= before
