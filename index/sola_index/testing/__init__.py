"""The test kit that every implementation of the contract passes: conformance suite, state machine, strategies."""

from sola_index.testing.conformance import IndexConformance
from sola_index.testing.devices import NumpyDevice

__all__ = ["IndexConformance", "NumpyDevice"]
