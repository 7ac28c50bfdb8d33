"""From what a model returns to calibrated probabilities and decisions, fitted on validation."""
