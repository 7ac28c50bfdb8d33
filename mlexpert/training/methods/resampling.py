"""The guard of whatever resamples: it may only be handed the rows that are trained on."""

from __future__ import annotations

import torch

from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.training.plan import Data


def require_training_rows(data: Data, schema: Schema) -> None:
    """Refuse rows that are not those the schema describes, which are training rows.

    Copies of a row, or rows made of it, on both sides of a split would make every score too good.

    Args:
        data: Encoded rows with one class each.
        schema: Of the training rows.

    Raises:
        InputError: The rows of each class are not as many.
    """
    counts = torch.bincount(data.targets, minlength=schema.num_classes).tolist()
    if counts != list(schema.class_counts):
        raise InputError(
            "Only training rows are resampled, inside `fit` and after the split. Those have class "
            f"counts {list(schema.class_counts)}, and these rows {counts}; validation and test "
            "rows stay as they are."
        )
