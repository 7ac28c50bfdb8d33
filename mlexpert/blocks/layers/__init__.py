"""Layers that models are built of, one per file."""
