"""The test kit every store passes: samples, the conformance suite, the state machine against the in-memory twin."""

from sola_scale.store.testing.conformance import StoreConformance
from sola_scale.store.testing.samples import Clock, sample_edit, sample_keys, sample_manifest, state_of

__all__ = ["Clock", "StoreConformance", "sample_edit", "sample_keys", "sample_manifest", "state_of"]
