"""The cache of views: taken once, resumed, bound to model and views."""

import numpy as np
import pytest

from sola_scale.analysis import cache as cache_module
from sola_scale.analysis.cache import ViewCache
from sola_scale.backbone import View, capture_views
from tests.tiny import tiny_backbone

VIEWS = (View(1, "mean"), View(2, "last"))
TEXTS = ["Where is A?", "B lives in", "a longer prompt about something", "Where is A?"]


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def test_views_are_those_of_the_model(tmp_path, backbone):
    """What the cache gives is what the model gives, to float16, in the order asked for, repeats included."""
    views = ViewCache(tmp_path, backbone, VIEWS, "m").get(TEXTS)
    expected = capture_views(backbone, TEXTS, VIEWS).numpy()
    np.testing.assert_allclose(views.astype(np.float32), expected, rtol=2e-3, atol=2e-3)


def test_nothing_is_run_twice(tmp_path, backbone, monkeypatch):
    """A second cache on the same folder answers without running the model."""
    first = ViewCache(tmp_path, backbone, VIEWS, "m").get(TEXTS)

    def refuse(*_args, **_kwargs):
        raise AssertionError("the model was run again")

    monkeypatch.setattr(cache_module, "capture_all", refuse)
    np.testing.assert_array_equal(ViewCache(tmp_path, backbone, VIEWS, "m").get(TEXTS), first)


def test_an_interrupted_run_keeps_its_whole_chunks(tmp_path, backbone, monkeypatch):
    """After a crash in the second chunk, the first is there and only the rest is run."""
    monkeypatch.setattr(cache_module, "CHUNK", 2)
    texts = [f"prompt number {number}" for number in range(6)]
    real = cache_module.capture_all
    calls = []

    def failing(bone, batch, views):
        calls.append(list(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(bone, batch, views)

    monkeypatch.setattr(cache_module, "capture_all", failing)
    with pytest.raises(KeyboardInterrupt):
        ViewCache(tmp_path, backbone, VIEWS, "m").get(texts)
    resumed = ViewCache(tmp_path, backbone, VIEWS, "m")
    assert len(resumed) == 2
    resumed.get(texts)
    assert sum(map(len, calls[2:])) == 4


def test_another_model_has_its_own_views(tmp_path, backbone):
    """Views of one model are not served to another."""
    ViewCache(tmp_path, backbone, VIEWS, "m").get(TEXTS)
    assert len(ViewCache(tmp_path, backbone, VIEWS, "other")) == 0
