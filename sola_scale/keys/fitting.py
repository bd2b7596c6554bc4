"""Fitting a calibration: retrieval in closed form, matchers and the listwise scorer on posed routing problems.

Shape legend: N texts, V views, D width.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sola_scale.backbone import Backbone, View, capture_views, fingerprint
from sola_scale.backbone.reading import TOKEN_DIGITS, TOKENS
from sola_scale.errors import CalibrationError
from sola_scale.keys.alignment import spelled
from sola_scale.keys.blocks import beside, blocks, over_blocks
from sola_scale.keys.calibration import Calibration
from sola_scale.keys.corpus import ASKED, Corpus, corpus_of
from sola_scale.keys.cross_fitting import with_cross_encoder
from sola_scale.keys.doubts import Doubts
from sola_scale.keys.heads import Head, fit_head
from sola_scale.keys.judging import fit_judgement, given_of
from sola_scale.keys.layout import Layout, default_layout
from sola_scale.keys.lexicon import fit_lexicon
from sola_scale.keys.matching import Texts
from sola_scale.keys.network import level
from sola_scale.keys.pairs import Pairs
from sola_scale.keys.problems import pose
from sola_scale.keys.scorer import Floats
from sola_scale.keys.teaching import lessons_of
from sola_scale.keys.whitening import Whitening

_BLOCK = 4096


class Fitted(NamedTuple):
    """What a fit leaves."""

    calibration: Calibration
    doubts: Doubts
    """What a cross-encoder can be trained on."""


def capture_all(
    backbone: Backbone,
    texts: Sequence[str],
    views: Sequence[View],
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Views of many texts, ``[N, V, D]`` float32, run in batches of like length; ``progress(done, all)`` is told."""
    lengths = backbone.lengths(texts)
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    width = backbone.architecture.width
    views_NVD = np.zeros((len(texts), len(views), width), dtype=np.float32)

    def capture(block: slice) -> None:
        places = order[block]
        captured: torch.Tensor = capture_views(backbone, [texts[place] for place in places], views)
        views_NVD[places] = captured.float().cpu().numpy()

    # a GPU runs one batch after the other, whoever asks
    workers = None if backbone.device.type == "cpu" else 1
    for done, _ in enumerate(beside(capture, blocks(len(order), batch_size), workers=workers), start=1):
        if progress is not None:
            progress(min(done * batch_size, len(order)), len(order))
    return views_NVD


def fit_calibration(
    backbone: Backbone,
    pairs: Sequence[Pairs],
    *,
    false_fire: float = 0.01,
    seed: int = 0,
    layout: Layout | None = None,
    note: str = "",
    cross_encoder: bool = False,
    progress: Callable[[int, int], None] | None = None,
    training: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Fit a calibration for a model from calibration pairs; minutes on a CPU, equal for equal input and seed.

    With a ``cross_encoder`` doubtful candidates are read a second time: of two hundred thousand pairs training takes an hour or two on a
    CPU, minutes on a GPU. ``progress(done, all)`` is told of texts read, ``training`` of its steps.

    Raises:
        CalibrationError: the pairs are too few, or ``false_fire`` is no rate.
        ModelError: the model cannot be adapted.
    """
    layout = layout or default_layout(len(backbone.architecture.layers))
    corpus = corpus_of(pairs)
    views_NVD = capture_all(backbone, corpus.texts, layout.views, progress=progress)
    fitted = fit_from_views(
        corpus,
        views_NVD,
        layout,
        embedding_ND=embedding_of(backbone),
        model=fingerprint(backbone)["model"],
        false_fire=false_fire,
        seed=seed,
        note=note,
    )
    if not cross_encoder:
        return fitted.calibration
    return with_cross_encoder(fitted.calibration, backbone, fitted.doubts, seed=seed, progress=training)


def embedding_of(backbone: Backbone) -> torch.Tensor:
    """The embeddings of the tokens of a model's vocabulary, ``[N, D]`` float32."""
    weight_ND: torch.Tensor = backbone.model.get_input_embeddings().weight
    return weight_ND.detach().float().cpu()


def fit_from_views(
    corpus: Corpus,
    views_NVD: NDArray[np.floating],
    layout: Layout,
    *,
    embedding_ND: torch.Tensor,
    model: str,
    false_fire: float = 0.01,
    seed: int = 0,
    folds: int = 3,
    note: str = "",
) -> Fitted:
    """Fit from views that are at hand: ``views_NVD`` has the texts of ``corpus`` and the views of ``layout``.

    ``embedding_ND`` is what ``embedding_of`` gives of the model, ``model`` its hash.

    Raises:
        CalibrationError: the pairs are too few, or ``false_fire`` is no rate.
    """
    _check(corpus, false_fire, folds)
    place = {view: number for number, view in enumerate(layout.views)}
    early = place[layout.retrieval]
    retrieval = fit_head(
        views_NVD[:, early].astype(np.float32), corpus.question_N, view=early, dim=layout.retrieval_dim
    )
    words = place[layout.words]
    lexicon = fit_lexicon(views_NVD[:, words], corpus.subject_N, view=words)
    problems = pose(corpus, _retrieve(retrieval, views_NVD))
    judgement = fit_judgement(
        corpus,
        problems,
        given_of(problems, lexicon.read(views_NVD[:, words, : lexicon.dim]), lexicon),
        _texts(
            corpus, views_NVD, [place[view] for view in layout.encoded], place[layout.tokens], embedding_ND
        ),
        views_NVD,
        false_fire=false_fire,
        seed=seed,
        folds=folds,
    )
    calibration = Calibration(
        views=layout.views,
        retrieval=retrieval,
        matchers=judgement.matched.matchers,
        alignment=judgement.matched.alignment,
        listwise=judgement.listwise,
        lexicon=lexicon,
        threshold=judgement.threshold,
        false_fire=false_fire,
        model=model,
        note=note,
    )
    return Fitted(calibration, judgement.doubts)


def _texts(
    corpus: Corpus,
    views_NVD: NDArray[np.floating],
    encoded: Sequence[int],
    tokens: int,
    embedding_ND: torch.Tensor,
) -> Texts:
    whitening = Whitening.of(views_NVD, encoded, corpus.relation_N)
    places = min(TOKENS, views_NVD.shape[2] // TOKEN_DIGITS)
    return Texts(
        white_NEP=whitening(views_NVD),
        whitening=whitening,
        spelled=spelled(views_NVD[:, tokens, : TOKEN_DIGITS * places]),
        token_view=tokens,
        places=places,
        embedding_ND=level(embedding_ND),
        lessons=lessons_of(corpus),
    )


def _check(corpus: Corpus, false_fire: float, folds: int) -> None:
    if not 0 < false_fire < 1:
        raise CalibrationError(f"the false-fire rate must lie between 0 and 1, not {false_fire}")
    if len(np.unique(corpus.relation_N)) < folds:
        raise CalibrationError(
            f"questions of at least {folds} relations are needed: what is fitted is tried on those it has not met"
        )
    asked = corpus.question_N[corpus.role_N == ASKED]
    paraphrased = int((np.unique(asked, return_counts=True)[1] > 1).sum())
    if paraphrased < 10 * folds:
        raise CalibrationError(
            f"{paraphrased} questions with a paraphrase are too few to calibrate with; give at least {10 * folds}, "
            "better some thousands"
        )


def _retrieve(retrieval: Head, views_NVD: NDArray[np.floating]) -> Floats:
    """Retrieval vectors as they lie in a store."""

    def stored(block: slice) -> NDArray[np.float16]:
        return retrieval(views_NVD[block].astype(np.float32)).astype(np.float16)

    found: Floats = np.concatenate(over_blocks(stored, len(views_NVD), _BLOCK)).astype(np.float32)
    return found
