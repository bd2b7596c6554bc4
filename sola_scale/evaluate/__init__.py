"""Metrics, datasets, baselines."""
