"""The index lives through random lives beside its twin."""

import os

from hypothesis import HealthCheck, settings

from sola_index.testing.stateful import IndexMachine

# The long run, 10,000 steps and more: SOLA_INDEX_STEPS=10000 python -m pytest tests/index/test_stateful.py
STEPS = int(os.environ.get("SOLA_INDEX_STEPS", "400"))
LIFE = 40

TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(
    max_examples=max(1, STEPS // LIFE),
    stateful_step_count=LIFE,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
