"""Predictions, checked once; which class is positive and what is calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mlexpert.data.examples import SEQUENCES, Objective
from mlexpert.errors import InputError
from mlexpert.evidence.sequences.metrics import CountedPredictions


@dataclass(frozen=True)
class Predictions:
    """What a model says of N examples, and what is true of them.

    Attributes:
        probabilities: (N, K), each row a distribution over classes.
        decisions: (N,) class indices chosen by the decision rule.
        targets: (N,) true class indices.
        cost: (K, K) of true class (row) and decided class (column), where errors cost differently.
        uncalibrated: (N, K) probabilities before calibration, where they are known.

    Raises:
        InputError: If shapes disagree, a class index is out of range, or a row of `probabilities`
            is no distribution.
    """

    probabilities: np.ndarray
    decisions: np.ndarray
    targets: np.ndarray
    cost: np.ndarray | None = None
    uncalibrated: np.ndarray | None = None

    def __post_init__(self) -> None:
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        if probabilities.ndim != 2 or probabilities.shape[0] == 0 or probabilities.shape[1] < 2:
            raise InputError(
                f"probabilities have shape {probabilities.shape}; "
                "expected (N, K) with at least one row and two classes."
            )
        if not np.isfinite(probabilities).all() or probabilities.min() < 0:
            raise InputError(
                "probabilities hold negative or non-finite numbers; pass softmax outputs."
            )
        if np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
            raise InputError(
                "some rows of probabilities do not sum to 1; pass softmax outputs, not logits."
            )
        object.__setattr__(self, "probabilities", probabilities)
        for name in ("decisions", "targets"):
            object.__setattr__(
                self, name, _class_indices(getattr(self, name), name, *probabilities.shape)
            )
        if self.cost is not None and self.cost.shape != (probabilities.shape[1],) * 2:
            raise InputError(
                f"cost has shape {self.cost.shape} for {probabilities.shape[1]} classes; expected "
                "a row and a column for each."
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.probabilities.shape[1]

    @property
    def num_adjusted(self) -> int:
        """Rows that the rule decides for another class than their most probable one."""
        return int((self.decisions != self.probabilities.argmax(axis=1)).sum())


@dataclass(frozen=True)
class LabelPredictions:
    """What a model says of N examples that may each have any of K labels, and what is true.

    Attributes:
        probabilities: (N, K) in [0, 1], of each label by itself.
        decisions: (N, K) booleans, the labels given by the decision rule.
        targets: (N, K) booleans, the labels that are right.

    Raises:
        InputError: If shapes disagree, a probability lies outside [0, 1], or a decision or target
            is neither 0 nor 1.
    """

    probabilities: np.ndarray
    decisions: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        if probabilities.ndim != 2 or 0 in probabilities.shape:
            raise InputError(
                f"probabilities have shape {probabilities.shape}; "
                "expected (N, K) with at least one row and one label."
            )
        if not (probabilities.min() >= 0 and probabilities.max() <= 1):
            raise InputError(
                "probabilities of labels lie outside [0, 1] or are not finite; pass sigmoid "
                "outputs, not logits."
            )
        object.__setattr__(self, "probabilities", probabilities)
        for name in ("decisions", "targets"):
            object.__setattr__(self, name, _flags(getattr(self, name), name, probabilities.shape))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def num_classes(self) -> int:
        """Number of labels, K."""
        return self.probabilities.shape[1]


@dataclass(frozen=True)
class ValuePredictions:
    """The numbers that a model predicts of N examples, and the true ones, in the user's unit.

    Attributes:
        predictions: (N,) float64.
        targets: (N,) float64.

    Raises:
        InputError: If shapes disagree or a number is not finite.
    """

    predictions: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        for name in ("predictions", "targets"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or len(values) == 0 or len(values) != len(self.targets):
                raise InputError(
                    f"{name} have shape {values.shape} for {len(self.targets)} targets; expected "
                    "one number per example, and at least one."
                )
            if not np.isfinite(values).all():
                raise InputError(f"{name} hold {(~np.isfinite(values)).sum()} non-finite numbers.")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def errors(self) -> np.ndarray:
        """Predicted less true number (N,): positive where the model says too much."""
        return self.predictions - self.targets


AnyPredictions = Predictions | LabelPredictions | ValuePredictions | CountedPredictions


def predictions_of(objective: Objective, arrays: Mapping[str, np.ndarray]) -> AnyPredictions:
    """Return the checked predictions of a part.

    Args:
        objective: What was predicted.
        arrays: Of sequences what `counted_metrics` counts, "predictions" and "targets" for
            regression, else "probabilities", "decisions" and
            "targets"; for classification maybe "cost" and "uncalibrated".

    Raises:
        InputError: If an array is missing, or is not what the objective needs.
    """
    if objective in SEQUENCES:
        return CountedPredictions(objective, arrays)
    made: Any = {
        "classification": Predictions,
        "multilabel": LabelPredictions,
        "regression": ValuePredictions,
    }[objective]
    extra = ("cost", "uncalibrated") if made is Predictions else ()
    names = [field.name for field in fields(made) if field.name not in extra]
    if missing := [name for name in names if name not in arrays]:
        raise InputError(
            f"{objective} needs the arrays {', '.join(names)}; {', '.join(missing)} not there."
        )
    return made(**{name: arrays.get(name) for name in (*names, *extra)})


def arrays_of(predictions: AnyPredictions) -> dict[str, np.ndarray]:
    """Return the arrays that `predictions_of` makes such predictions of."""
    if isinstance(predictions, CountedPredictions):
        return dict(predictions.counts)
    return {one.name: getattr(predictions, one.name) for one in fields(predictions)}


def check_counts(train_counts: ArrayLike, num_classes: int) -> np.ndarray:
    """Return `train_counts` as an integer array (K,).

    Raises:
        InputError: If there is not one count per class, or one is negative.
    """
    counts = np.asarray(train_counts)
    if counts.shape != (num_classes,) or (counts < 0).any():
        raise InputError(
            f"train_counts has shape {counts.shape}; expected {num_classes} counts, one per class."
        )
    return counts.astype(np.int64)


def positive_class(train_counts: np.ndarray) -> int:
    """Return the positive one of two classes: the rarer in training, at equal counts the second."""
    return 0 if train_counts[0] < train_counts[1] else 1


def calibration_pairs(
    predictions: Predictions, train_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability (N,) whose calibration is judged, and whether it came true (N,).

    With two classes it is the positive class's probability, with more the largest (Guo et al. 2017,
    arXiv:1706.04599).
    """
    probabilities, targets = predictions.probabilities, predictions.targets
    if predictions.num_classes == 2:
        positive = positive_class(train_counts)
        return probabilities[:, positive], (targets == positive).astype(np.float64)
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == targets).astype(np.float64)


def _class_indices(
    values: np.ndarray, name: str, num_examples: int, num_classes: int
) -> np.ndarray:
    indices = np.asarray(values)
    if indices.shape != (num_examples,) or indices.dtype.kind not in "iu":
        raise InputError(
            f"{name} are {indices.dtype} of shape {indices.shape}; "
            f"expected {num_examples} class indices."
        )
    if indices.min() < 0 or indices.max() >= num_classes:
        raise InputError(
            f"{name} run from {indices.min()} to {indices.max()}; expected 0 to {num_classes - 1}."
        )
    return indices.astype(np.int64)


def _flags(values: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    flags = np.asarray(values)
    if flags.shape != shape or not np.isin(flags, (0, 1)).all():
        raise InputError(
            f"{name} are {flags.dtype} of shape {flags.shape}; expected {shape[0]} rows of "
            f"{shape[1]} labels, each 0 or 1."
        )
    return flags.astype(bool)
