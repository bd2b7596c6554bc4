"""Teaching: encoders learn which relation a text asks for, among those of its kind."""

import numpy as np
import pytest
import torch

from sola_scale.keys import Negative, Pairs
from sola_scale.keys.corpus import corpus_of
from sola_scale.keys.network import EncoderNetwork
from sola_scale.keys.teaching import Lessons, lessons_of, teach

TEXTS, VIEWS, DIRECTIONS = 800, 2, 12


@pytest.fixture
def white() -> torch.Tensor:
    """Texts whose relation shows in the sign of two directions of the first view, beside much noise."""
    torch.manual_seed(0)
    white_NEP = 1.5 * torch.randn(TEXTS, VIEWS, DIRECTIONS)
    signs_N2 = torch.tensor([[place % 2, place // 2 % 2] for place in range(TEXTS)]) * 2.0 - 1
    white_NEP[:, 0, :2] = signs_N2 + 0.2 * torch.randn(TEXTS, 2)
    return white_NEP


@pytest.fixture
def encoder() -> EncoderNetwork:
    torch.manual_seed(1)
    return EncoderNetwork(VIEWS, DIRECTIONS)


def _parted(encoder: EncoderNetwork, white: torch.Tensor, relation: np.ndarray) -> float:
    """Share of texts that are nearest, of all means, to that of their own relation."""
    encoder.eval()
    with torch.no_grad():
        encoded = encoder(white).numpy()
    means = np.stack([encoded[relation == one].mean(axis=0) for one in np.unique(relation)])
    return float((((encoded[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1) == relation).mean())


def test_what_is_taught_is_parted(encoder, white):
    """After teaching, encodings of unit variance lie with their relation, as they did not before."""
    relation = np.arange(TEXTS) % 4
    before = _parted(encoder, white, relation)
    teach(encoder, white, Lessons(relation, np.zeros(4, np.int64)), torch.Generator())
    assert before < 0.8
    assert _parted(encoder, white, relation) > 0.95
    with torch.no_grad():
        assert encoder(white).std() == pytest.approx(1, abs=0.1)


def test_without_lessons_nothing_changes(encoder, white):
    """An encoder without a relation to learn stays as it is."""
    before = [part.clone() for part in encoder.parameters()]
    teach(encoder, white, Lessons(np.full(TEXTS, -1), np.zeros(0, np.int64)), torch.Generator())
    assert all(torch.equal(*both) for both in zip(before, encoder.parameters(), strict=True))


def test_relations_of_other_kinds_need_not_be_parted(encoder, white):
    """Two relations of two kinds may look the same: nobody asks both of one subject."""
    relation = np.arange(TEXTS) % 4
    teach(encoder, white, Lessons(relation, np.array([0, 0, 1, 1])), torch.Generator())
    assert _parted(encoder, white, relation % 2) > 0.95 > _parted(encoder, white, relation)


def _pairs(relation: str, subjects: range) -> list[Pairs]:
    return [
        Pairs(
            prompt=f"{relation} of {subject}",
            paraphrases=(f"{subject}'s {relation}",),
            negatives=(Negative(prompt=f"other than {relation} of {subject}", kind="same-subject"),),
            relation=relation,
        )
        for subject in subjects
    ]


def test_lessons_are_relations_of_a_kind_with_texts_enough():
    """A relation without a kind, or with few texts, is not taught, and neither are near misses; kinds are told by the name."""
    corpus = corpus_of(
        [
            *_pairs("person / father", range(10)),
            *_pairs("person / mother", range(10, 20)),
            *_pairs("work / author", range(20, 30)),
            *_pairs("work / title", range(30, 32)),
            *_pairs("anything", range(40, 50)),
        ]
    )
    lessons = lessons_of(corpus)
    kinds = lessons.kind_C.tolist()
    assert len(kinds) == 3
    assert sorted(map(kinds.count, set(kinds))) == [1, 2]
    taught = [text for text, relation in zip(corpus.texts, lessons.relation_N, strict=True) if relation >= 0]
    assert len(taught) == 60
    assert not any(text.startswith("other") for text in taught)


def test_few_lessons_are_none():
    """Where most texts name no kind, encoders are not taught the rest."""
    corpus = corpus_of([*_pairs("person / father", range(10)), *_pairs("anything", range(10, 40))])
    assert (lessons_of(corpus).relation_N == -1).all()


def test_what_is_left_out_is_not_taught():
    """Lessons of some texts alone keep the numbers of the relations."""
    lessons = Lessons(np.array([0, 1, 1, -1]), np.array([0, 0])).only(np.array([True, False, True, True]))
    assert lessons.relation_N.tolist() == [0, -1, 1, -1]
