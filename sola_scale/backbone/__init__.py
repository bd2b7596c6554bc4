"""All that knows transformers: loading, finding layers, hooks, views, fingerprints."""

from sola_scale.backbone.architecture import Architecture, describe, features
from sola_scale.backbone.fingerprint import fingerprint
from sola_scale.backbone.loading import Backbone, load_backbone
from sola_scale.backbone.sequence import ForwardCall, PinnedSequence
from sola_scale.backbone.smollm2 import bundled_model
from sola_scale.backbone.taps import Action, Decision, Taps
from sola_scale.backbone.views import View, capture_views, last_positions, pool

__all__ = [
    "Action",
    "Architecture",
    "Backbone",
    "Decision",
    "ForwardCall",
    "PinnedSequence",
    "Taps",
    "View",
    "bundled_model",
    "capture_views",
    "describe",
    "features",
    "fingerprint",
    "last_positions",
    "load_backbone",
    "pool",
]
