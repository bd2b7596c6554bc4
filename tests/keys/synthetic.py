"""Synthetic views: questions as subject plus relation vectors, with phrasing noise that calibration must learn away."""

from typing import Any

import numpy as np
import torch

from sola_scale.backbone import View
from sola_scale.backbone.reading import Reading
from sola_scale.backbone.spelling import Spelling
from sola_scale.keys import Calibration, Layout, Negative, Pairs
from sola_scale.keys.corpus import Corpus, corpus_of
from sola_scale.keys.fitting import Fitted, fit_from_views

TOKENS, WORDS, EARLY, LATE = View(0, "tokens"), View(0, "words"), View(1, "mean"), View(3, "last")
LAYOUT = Layout(retrieval=EARLY, retrieval_dim=32, encoded=(EARLY, LATE), words=WORDS, tokens=TOKENS)
WIDTH = 64
VOCABULARY = 400
EMBEDDING = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0))
SPELLING = Spelling(
    [
        f" {'word' if number % 2 else 'Name'}{chr(97 + number % 26)}{chr(97 + number // 26)}"
        for number in range(VOCABULARY)
    ]
)


def pairs_of(subjects: int = 40, relations: int = 8) -> list[Pairs]:
    """Subjects with two thirds of the relations, twice paraphrased, with a near miss of each kind."""

    def near(subject: int, relation: int) -> str:
        # a near miss that is a question itself is that question's prompt
        return f"{subject} {relation} {0 if (subject + relation) % 3 else 3}"

    return [
        Pairs(
            prompt=f"{subject} {relation} 0",
            paraphrases=(f"{subject} {relation} 1", f"{subject} {relation} 2"),
            negatives=(
                Negative(prompt=near(subject, (relation + 1) % relations), kind="same-subject"),
                Negative(prompt=near((subject + 1) % subjects, relation), kind="same-relation"),
            ),
            relation=str(relation),
        )
        for subject in range(subjects)
        for relation in range(relations)
        if (subject + relation) % 3
    ]


def views_of(corpus: Corpus, seed: int = 0, noise: float = 1.0) -> np.ndarray:
    """Views ``[N, 4, D]``: the tokens and the words; an early one with the subject and a late one with the relation, under style noise.

    Only two of three phrasings name the relation.
    """
    rng = np.random.default_rng(seed)
    subjects, relations = rng.normal(size=(64, WIDTH)), rng.normal(size=(64, WIDTH))
    style = rng.normal(size=(6, WIDTH)) * 2
    views = np.zeros((len(corpus), 4, WIDTH), dtype=np.float32)
    for row, text in enumerate(corpus.texts):
        subject, relation, phrasing = map(int, text.split())
        named = [100 + relation] if phrasing % 3 else []
        views[row, 0], views[row, 1] = reading_rows([200 + phrasing, subject, *named])
        for view, (one, other) in enumerate([(2.0, 0.7), (0.7, 2.0)], start=2):
            signal = one * subjects[subject] + other * relations[relation]
            views[row, view] = signal + noise * (rng.normal(size=6) @ style) + 0.2 * rng.normal(size=WIDTH)
    return views


def reading_rows(tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The views of these tokens and of their words: the even ones are names."""
    ids_1T = torch.tensor([tokens])
    reading = Reading(SPELLING, ids_1T, torch.ones_like(ids_1T))
    return reading.token_rows(WIDTH)[0].numpy(), reading.word_rows(WIDTH)[0].numpy()


def fit(corpus: Corpus, views: np.ndarray, *, model: str = "synthetic", **settings: Any) -> Calibration:
    """Fit a calibration from synthetic views."""
    return fit_whole(corpus, views, model=model, **settings).calibration


def fit_whole(corpus: Corpus, views: np.ndarray, *, model: str = "synthetic", **settings: Any) -> Fitted:
    """Fit from synthetic views, and keep all that the fit leaves."""
    return fit_from_views(corpus, views, LAYOUT, embedding_ND=EMBEDDING, model=model, **settings)


def corpus() -> Corpus:
    """The synthetic corpus."""
    return corpus_of(pairs_of())
