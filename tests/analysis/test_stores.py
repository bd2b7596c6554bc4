"""Collisions among the edits of a store."""

import numpy as np
import pytest

from sola_scale.analysis.stores import measure
from sola_scale.store import KeyRows, MemoryStore
from sola_scale.store.testing.samples import sample_edit, sample_manifest
from tests.keys import synthetic


@pytest.fixture(scope="module")
def fitted():
    corpus = synthetic.corpus()
    views = synthetic.views_of(corpus)
    return corpus, views, synthetic.fit(corpus, views, false_fire=0.05)


def _store(fitted, texts):
    corpus, views, calibration = fitted
    store = MemoryStore(sample_manifest())
    keys = calibration.keys(views[[corpus.texts.index(text) for text in texts]])
    store.write(
        [
            sample_edit(
                number,
                prompt=text,
                keys=KeyRows(
                    retrieval=keys.retrieval_BR[number : number + 1].astype(np.float16),
                    verification=keys.verification_BM[number : number + 1],
                ),
            )
            for number, text in enumerate(texts)
        ]
    )
    return store


def test_two_wordings_of_one_question_are_named(fitted):
    """Of a store's edits, the two that ask one question are reported as a collision, by their prompts."""
    figures = measure(_store(fitted, ["1 1 0", "1 1 1", "5 2 0", "7 0 0"]), fitted[2])
    assert {tuple(sorted(entry["prompts"])) for entry in figures["collisions"]} == {("1 1 0", "1 1 1")}
    assert figures["told_apart"] == pytest.approx(0.5)


def test_a_store_of_one_edit_has_nothing_to_collide_with(fitted):
    """With fewer than two keys there are no collisions and no distances."""
    assert measure(_store(fitted, ["1 1 0"]), fitted[2]) == {"keys": 1, "collisions": []}
