"""Settings that every test shares."""

import os

# Two busy-waiting OpenMP threads on a shared machine cost more than they bring.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
