"""What is to be said of columns from which nothing can be learned."""

from __future__ import annotations

from mlexpert.data.nearest import listing
from mlexpert.data.schema import MAX_CATEGORIES, Categorical, Numeric, Schema


def column_notes(schema: Schema) -> list[str]:
    """Return notes on the columns that are empty, constant, or of very many categories in train."""
    empty = [column.name for column in schema.columns if column.missing == 1.0]
    same = [
        column.name
        for column in schema.columns
        if column.missing == 0.0
        and (
            column.quantiles[0] == column.quantiles[-1]
            if isinstance(column, Numeric)
            else len(column.categories) == 1
        )
    ]
    crowded = [
        column.name
        for column in schema.columns
        if isinstance(column, Categorical) and len(column.categories) == MAX_CATEGORIES
    ]
    notes = []
    if empty:
        notes.append(f"column(s) {listing(empty)} have no value in any training row")
    if same:
        notes.append(f"column(s) {listing(same)} have one and the same value in all training rows")
    if crowded:
        notes.append(
            f"column(s) {listing(crowded)}: the {MAX_CATEGORIES:,} most frequent categories are "
            "kept, all others count as unseen"
        )
    return notes
