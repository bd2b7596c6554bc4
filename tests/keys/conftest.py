"""A calibration fitted once on synthetic views."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from sola_scale.backbone import Backbone
from sola_scale.keys import Calibration
from sola_scale.keys.corpus import Corpus
from tests.keys import synthetic
from tests.keys.crossed import cross_of
from tests.tiny import tiny_backbone


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return synthetic.corpus()


@pytest.fixture(scope="session")
def views(corpus: Corpus) -> np.ndarray:
    return synthetic.views_of(corpus)


@pytest.fixture(scope="session")
def calibration(corpus: Corpus, views: np.ndarray) -> Calibration:
    return synthetic.fit(corpus, views, false_fire=0.05, note="a test")


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """A tiny model that nobody changes."""
    return tiny_backbone()


@pytest.fixture(scope="session")
def crossed(calibration: Calibration, backbone: Backbone) -> Calibration:
    """The same calibration with a cross-encoder that was never trained."""
    return dataclasses.replace(calibration, cross=cross_of(backbone))


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Torch has three threads, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)
