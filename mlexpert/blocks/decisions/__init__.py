"""From logits to calibrated probabilities and to a chosen class, fitted on validation."""
