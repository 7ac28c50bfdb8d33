"""Losses that return one value per example, `(B,)`; the caller reduces."""
