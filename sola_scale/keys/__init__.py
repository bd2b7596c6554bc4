"""Views to keys: calibration, scores."""

from sola_scale.keys.calibration import Calibration, Keys
from sola_scale.keys.collisions import Collisions, examine, fires_earlier, told_apart
from sola_scale.keys.default import default_calibration, shipped_calibration
from sola_scale.keys.fitting import capture_all, fit_calibration
from sola_scale.keys.layout import Layout, default_layout
from sola_scale.keys.pairs import Negative, Pairs, default_pairs, read_pairs
from sola_scale.keys.paper import sola_paper_calibration

__all__ = [
    "Calibration",
    "Collisions",
    "Keys",
    "Layout",
    "Negative",
    "Pairs",
    "capture_all",
    "default_calibration",
    "default_layout",
    "default_pairs",
    "examine",
    "fires_earlier",
    "fit_calibration",
    "read_pairs",
    "shipped_calibration",
    "sola_paper_calibration",
    "told_apart",
]
