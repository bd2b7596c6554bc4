"""Settings that every test shares."""

import os

import hypothesis

# Two busy-waiting OpenMP threads on a shared machine cost more than they bring.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples every time, so that a change is judged by what it does; `make faults` looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.register_profile("searching")
hypothesis.settings.load_profile(os.environ.get("SOLA_HYPOTHESIS", "repeatable"))
