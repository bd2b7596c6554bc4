"""Collisions, thresholds, storage: numbers and plots."""
