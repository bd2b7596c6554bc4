"""SoLA's own key, word for word: the reference for ablations, never the default.

The raw hidden state of the last prompt token where the first edited layer reads it, compared with a fixed threshold
(arXiv 2603.11239, section 3.4, equation 3). The paper names no metric; both readings are here.
"""

from typing import Literal

import numpy as np

from sola_scale.backbone import Backbone, View, fingerprint
from sola_scale.keys.calibration import Calibration
from sola_scale.keys.heads import Head

ALPHA = 0.01
"""The paper's threshold."""


def sola_paper_calibration(
    backbone: Backbone, *, layer: int, alpha: float = ALPHA, metric: Literal["l2", "cosine"] = "l2"
) -> Calibration:
    """The paper's router: the nearest edit fires if it lies within ``alpha``; no verification.

    Args:
        backbone: the base model.
        layer: the first edited layer; its input is the key.
        alpha: the threshold on the distance.
        metric: ``l2`` on raw states, or ``cosine`` distance, ``1 - cos``.
    """
    width = backbone.architecture.width
    head = Head(
        view=0,
        centre_D=np.zeros(width, dtype=np.float32),
        matrix_DK=np.eye(width, dtype=np.float32),
        unit=metric == "cosine",
    )
    # on the unit sphere a cosine distance of alpha is a Euclidean one of sqrt(2 alpha)
    scale = alpha if metric == "l2" else float(np.sqrt(2 * alpha))
    return Calibration(
        views=(View(layer, "last"),),
        retrieval=head,
        matchers=(),
        listwise=None,
        threshold=0.5,
        false_fire=1.0,
        model=fingerprint(backbone)["model"],
        distance_scale=scale,
        note=f"SoLA: raw last token entering layer {layer}, {metric}, alpha {alpha:g}",
    )
