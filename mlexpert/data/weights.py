"""How much each row counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlexpert.data.columns import refuse_missing, unwrap
from mlexpert.errors import InputError


def read_weights(values: Any, where: str, rows: int) -> np.ndarray:
    """Return weights (N,), float64.

    Args:
        values: An array, a series, a tensor or a list of numbers.
        where: How a message speaks of them.
        rows: N.

    Raises:
        InputError: There are not as many as rows, or they are missing, no numbers, negative,
            infinite, or all zero.
    """
    values = unwrap(values)
    if np.shape(values) != (rows,):
        raise InputError(
            f"{where} is of shape {np.shape(values)}, and there are {rows} rows: give one weight "
            "each, shape (N,)"
        )
    series = pd.Series(values)
    refuse_missing(series.isna(), where, "a weight")
    if not pd.api.types.is_numeric_dtype(series.dtype):
        series = pd.to_numeric(series.infer_objects(), errors="coerce")
        wrong = np.flatnonzero(series.isna())
        if len(wrong):
            raise InputError(f"{where} holds, in row {wrong[0]}, something that is no number")
    weights = series.to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
    if len(wrong):
        raise InputError(
            f"{where} holds {len(wrong)} weight(s) that are negative or infinite, first "
            f"{weights[wrong[0]].item()!r} in row {wrong[0]}: a weight is 0 or more"
        )
    if not weights.any():
        raise InputError(f"{where} holds the weight 0 in all {rows} rows: nothing would count")
    return weights
