"""Whether the arrays of a calibration fit together: each map takes what the one before gives."""

from sola_scale.keys import alignment, lexicon
from sola_scale.keys.calibration import Calibration
from sola_scale.keys.encoder import Encoder
from sola_scale.keys.heads import Head
from sola_scale.keys.matcher import Matcher
from sola_scale.keys.scorer import Perceptron

_GIVEN = 1 + lexicon.FEATURES + alignment.FEATURES
"""What is known of two prompts beside their encodings: the retrieval cosine, the likeness of words and of tokens."""
_LISTED = 2 * (2 + _GIVEN)
"""What the listwise scorer sees of a candidate: the pair logit, the cosine and what is given, and its lead in each."""


def fit_together(calibration: Calibration) -> bool:
    """Whether keys can be made and compared with these arrays, for residual streams as wide as retrieval reads."""
    head, listwise = calibration.retrieval, calibration.listwise
    return (
        _is_head(head)
        and all(_is_matcher(one, len(head.centre_D)) for one in calibration.matchers)
        and (listwise is None or _is_scorer(listwise, _LISTED))
    )


def _is_head(head: Head) -> bool:
    return head.matrix_DK.ndim == 2 and head.centre_D.shape == head.matrix_DK.shape[:1]


def _is_matcher(matcher: Matcher, width: int) -> bool:
    if not _is_encoder(matcher.encoder, width):
        return False
    # two encodings are compared by their cosine, their distances and their products
    return _is_scorer(matcher.pair, _GIVEN + 2 * matcher.encoder.dim + 1)


def _is_encoder(encoder: Encoder, width: int) -> bool:
    if encoder.matrix_EDP.ndim != 3 or encoder.outer_HZ.ndim != 2:
        return False
    (views, _, kept), (hidden, dim) = encoder.matrix_EDP.shape, encoder.outer_HZ.shape
    wanted = {
        "centre_ED": (views, width),
        "matrix_EDP": (len(encoder.views), width, kept),
        "inner_FH": (views * kept, hidden),
        "inner_H": (hidden,),
        "outer_Z": (dim,),
    }
    return all(getattr(encoder, name).shape == shape for name, shape in wanted.items())


def _is_scorer(scorer: Perceptron, features: int) -> bool:
    wide = features
    for weight, bias in zip(scorer.weights, scorer.biases, strict=True):
        if weight.ndim != 2 or len(weight) != wide or bias.shape != weight.shape[1:]:
            return False
        wide = weight.shape[1]
    return scorer.mean_F.shape == scorer.scale_F.shape == (features,) and wide == 1
