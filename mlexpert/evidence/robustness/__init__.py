"""What attacks on a model found: their record, figures, words and sections."""
