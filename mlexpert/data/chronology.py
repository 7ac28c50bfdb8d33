"""Cut rows into parts that follow one another in time."""

from __future__ import annotations

import numpy as np

from mlexpert.errors import InputError


def number_times(times: np.ndarray) -> np.ndarray:
    """Number the moments of rows in their order.

    Args:
        times: (N,) sortable values.

    Returns:
        (N,) int64 from 0 upwards; equal times have equal numbers.

    Raises:
        InputError: If a time is missing, or times cannot be sorted.
    """
    import pandas as pd

    values = pd.Series(times)
    missing = np.flatnonzero(values.isna())
    if len(missing):
        raise InputError(
            f"{len(missing)} rows have no time (first at row {missing[0]}): give every row a time "
            "or drop these rows"
        )
    try:
        return np.unique(values.to_numpy(), return_inverse=True)[1]
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise InputError(
            f"times of types {', '.join(kinds)} cannot be put in order: convert them to one type"
        ) from error


def cut_by_time(
    times: np.ndarray, contents: np.ndarray, groups: np.ndarray | None, fractions: np.ndarray
) -> tuple[np.ndarray, int]:
    """Deal rows into consecutive stretches of time.

    Rows of one moment stay together, so the shares are met as nearly as whole moments allow. Order
    comes first: a row whose content or group already occurs in an earlier part is left out, since
    no division could keep both.

    Args:
        times: (N,) sortable values.
        contents: (N,) number of each row's content.
        groups: (N,) number of each row's group, or None.
        fractions: (P,) share of each part, earliest first; they sum to 1.

    Returns:
        (N,) part of each row, -1 where it is left out; and the number of rows left out.

    Raises:
        InputError: If there are fewer distinct times than parts, or times are missing or cannot be
            sorted.
    """
    moments = number_times(times)
    ends = np.cumsum(np.bincount(moments))  # rows up to and including each moment
    num_parts = len(fractions)
    if len(ends) < num_parts:
        raise InputError(
            f"there are {len(ends)} distinct times for {num_parts} parts that follow one another: "
            "give finer times, or leave time= out"
        )
    part_of_moment = np.zeros(len(ends), dtype=np.int64)
    start = 0
    for number, target in enumerate(np.cumsum(fractions)[:-1] * len(times)):
        # Every part gets a moment: those before had theirs, and enough are kept for those to come.
        options = np.arange(start, len(ends) - (num_parts - 1 - number))
        last = int(options[np.argmin(np.abs(ends[options] - target))])
        start = last + 1
        part_of_moment[start:] = number + 1
    dealt = part_of_moment[moments]
    left_out = np.zeros(len(dealt), dtype=bool)
    for links in (contents,) if groups is None else (contents, groups):
        first = np.full(int(links.max()) + 1, num_parts)
        np.minimum.at(first, links, dealt)
        left_out |= dealt > first[links]
    dealt[left_out] = -1
    return dealt, int(left_out.sum())
