"""Adapter layouts and codec, the slot bank, heterogeneous apply, batched training."""
