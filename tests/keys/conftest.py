"""A calibration fitted once on synthetic views."""

import numpy as np
import pytest

from sola_scale.keys import Calibration
from sola_scale.keys.corpus import Corpus
from tests.keys import synthetic


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return synthetic.corpus()


@pytest.fixture(scope="session")
def views(corpus: Corpus) -> np.ndarray:
    return synthetic.views_of(corpus)


@pytest.fixture(scope="session")
def calibration(corpus: Corpus, views: np.ndarray) -> Calibration:
    return synthetic.fit(corpus, views, false_fire=0.05, note="a test")
