"""Sums over rows from which a linear classifier is solved, whatever order the rows came in."""
