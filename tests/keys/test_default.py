"""The default calibration: shipped for one model, fitted for any other."""

import numpy as np
import pytest

from sola_scale.backbone import capture_views, load_backbone
from sola_scale.keys import default_calibration, shipped_calibration, sola_paper_calibration
from tests.tiny import tiny_backbone


def test_another_model_is_calibrated_on_the_spot():
    """A tiny model gets a calibration of its own, below its first edited layer, told of as it goes."""
    backbone = tiny_backbone()
    told = []
    calibration = default_calibration(
        backbone, before_layer=2, max_pairs=120, progress=lambda done, total: told.append((done, total))
    )
    assert shipped_calibration(backbone) is None
    assert calibration.last_layer <= 2
    assert told[-1][0] == told[-1][1]
    views = capture_views(backbone, ["Who wrote it?"], calibration.views)
    assert len(calibration.keys(views)) == 1


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_the_papers_key_fires_inside_alpha_only(metric):
    """The raw last-token key fires an identical prompt and nothing that is farther than alpha."""
    backbone = tiny_backbone()
    calibration = sola_paper_calibration(backbone, layer=2, metric=metric)
    views = capture_views(backbone, ["The capital of France is", "The capital of Peru is"], calibration.views)
    keys = calibration.keys(views)
    assert keys.verification_BM.shape == (2, 0)
    apart = np.linalg.norm(keys.retrieval_BR[0] - keys.retrieval_BR[1])
    distances = np.array([0.0, apart], dtype=np.float32)
    probability = calibration.score(keys.verification_BM[0], keys.verification_BM, distances)
    np.testing.assert_array_equal(probability >= calibration.threshold, [True, False])


@pytest.mark.real
def test_the_shipped_calibration_is_the_default_models():
    """The default model gets the shipped calibration: within its budget, and a question finds its other wording."""
    backbone = load_backbone("smollm2")
    calibration = shipped_calibration(backbone)
    assert calibration is not None
    assert calibration.key_bytes <= 1536
    assert calibration.last_layer <= 26
    texts = [
        "What is the capital of France?",
        "The capital of France is",
        "What is the capital of Peru?",
        "Who governs France?",
    ]
    keys = calibration.keys(capture_views(backbone, texts, calibration.views))
    cosine = keys.retrieval_BR[1:] @ keys.retrieval_BR[0]
    assert cosine.argmax() == 0


@pytest.mark.real
def test_a_prompt_has_one_key_in_any_batch_on_the_default_model():
    """Alone or padded beside a long prompt, a prompt's key is the same to float16."""
    backbone = load_backbone("smollm2")
    calibration = shipped_calibration(backbone)
    assert calibration is not None
    text = "The capital of France is"
    alone = calibration.keys(capture_views(backbone, [text], calibration.views))
    padded = calibration.keys(capture_views(backbone, [text, "word " * 60], calibration.views))
    np.testing.assert_allclose(padded.retrieval_BR[0], alone.retrieval_BR[0], atol=2e-3)
    np.testing.assert_allclose(padded.verification_BM[0], alone.verification_BM[0], atol=4e-3)
