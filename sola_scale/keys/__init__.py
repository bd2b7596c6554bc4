"""Views to keys: calibration, scores."""
