"""Optimisers, and which parameters they decay."""
