"""Classification where some classes are rare."""
