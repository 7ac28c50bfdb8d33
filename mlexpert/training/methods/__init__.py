"""Losses and hooks that several recipes share, and what these need."""
