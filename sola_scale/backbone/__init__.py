"""All that knows transformers: loading, finding layers, hooks, views, fingerprints."""

from sola_scale.backbone.architecture import Architecture, describe, features
from sola_scale.backbone.loading import Backbone, load_backbone
from sola_scale.backbone.smollm2 import bundled_model
from sola_scale.backbone.views import View, capture_views, last_positions, pool

__all__ = [
    "Architecture",
    "Backbone",
    "View",
    "bundled_model",
    "capture_views",
    "describe",
    "features",
    "last_positions",
    "load_backbone",
    "pool",
]
