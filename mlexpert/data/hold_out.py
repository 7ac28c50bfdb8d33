"""Hold rows out for validation also where some classes are too rare to be divided."""

from __future__ import annotations

import numpy as np

from mlexpert.data.stratify import count_units, deal


def hold_out(
    contents: np.ndarray, classes: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Choose validation rows, stratified by class; equal rows stay on one side.

    `split` refuses a class that has one distinct row. Here such a class is trained on and not
    validated on.

    Args:
        contents: (N,) number of each row's content: equal where rows are.
        classes: (N,) class of each row, from 0 upwards without gaps.
        share: Of the rows to hold out, in (0, 1).
        rng: The only source of chance.

    Returns:
        (N,) whether a row is held out. Every class keeps a row to train on. None is held out where
        no class has two distinct rows, or one row of each would be left.
    """
    held = np.zeros(len(classes), dtype=bool)
    free = np.ones(len(classes), dtype=bool)
    while free.any():
        present, codes = np.unique(classes[free], return_inverse=True)
        units = np.unique(contents[free], return_inverse=True)[1]
        rare = count_units(units, codes) < 2
        if not rare.any():
            held[free] = deal(units, codes, np.array([1 - share, share]), rng) == 1
            break
        # Their equals of other classes stay with them, which may make another class rare.
        free &= ~np.isin(contents, contents[np.isin(classes, present[rare])])
    lacking = np.setdiff1d(classes, classes[~held])
    held &= ~np.isin(contents, contents[np.isin(classes, lacking)])
    return held if (~held).sum() > len(np.unique(classes)) else np.zeros_like(held)
