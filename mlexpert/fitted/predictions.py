"""What a model says of a split: computed once, and kept in the run folder for the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save
from torch import Tensor

from mlexpert.blocks.decisions.cost_sensitive import CostSensitive
from mlexpert.blocks.decisions.temperature import log_probabilities
from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples, Objective
from mlexpert.data.schema import Schema
from mlexpert.evidence.metrics import SMALLEST
from mlexpert.evidence.subgroups import subgroups_of
from mlexpert.recipe import Parts
from mlexpert.training.tracking import write_bytes, write_json

if TYPE_CHECKING:
    import pandas as pd


def predictions_of(
    parts: Parts, logits: Tensor, objective: Objective, tasks: Tensor | None = None
) -> dict[str, np.ndarray]:
    """Return what a model says of N rows.

    Args:
        parts: Of whose decision rule the answer is.
        logits: (N, K) or (N, M, K), as the network returns them.
        objective: What is predicted.
        tasks: (N,) the task of each row of a stream; None where there is no stream.

    Returns:
        For regression "predictions" (N,) float64, in the user's unit. Otherwise "probabilities"
        (N, K), "uncalibrated" (N, K), and "decisions": classes (N,), or labels (N, K) as uint8;
        where errors cost differently also "cost" (K, K). Of a stream also "tasks" (N,), and
        "told" (N,), the decisions with the task told, but where tasks share their classes.
    """
    if tasks is not None:
        return _of_stream(parts, logits, objective, tasks)
    decisions = parts.decide.decide(logits).numpy()
    if objective == "regression":
        return {"predictions": decisions.astype(np.float64)}
    if objective == "multilabel":
        uncalibrated = logits.float().sigmoid()
        uncalibrated = uncalibrated.mean(dim=1) if logits.ndim == 3 else uncalibrated
        decisions = decisions.astype(np.uint8)
    else:
        uncalibrated = log_probabilities(logits).exp()
    arrays = {
        "probabilities": parts.decide.probabilities(logits).float().numpy(),
        "uncalibrated": uncalibrated.float().numpy(),
        "decisions": decisions,
    }
    if isinstance(parts.decide, CostSensitive):
        arrays["cost"] = parts.decide.cost.numpy()
    return arrays


def _of_stream(
    parts: Parts, logits: Tensor, objective: Objective, tasks: Tensor
) -> dict[str, np.ndarray]:
    """Return what a model says of the rows of a stream, with the tasks told and without."""
    about = {"tasks": tasks.numpy()}
    if parts.given_task is None:
        return {**predictions_of(parts, logits, objective), **about}
    masked = parts.given_task(logits, tasks)
    told = parts.decide.decide(masked).numpy()
    asked = predictions_of(parts, masked if parts.tells_task else logits, objective)
    return {**asked, **about, "told": told}


def told_accuracy(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the mean over tasks of the accuracy, as it was asked and with the task told.

    Args:
        arrays: Of `predictions_of`, of a stream, with "targets".
    """
    tasks, targets = arrays["tasks"], arrays["targets"]

    def mean(decisions: np.ndarray) -> float:
        right = decisions == targets
        return float(np.mean([right[tasks == number].mean() for number in np.unique(tasks)]))

    found = {"average_accuracy": mean(arrays["decisions"])}
    return found | ({"task_aware_accuracy": mean(arrays["told"])} if "told" in arrays else {})


def in_user_terms(decisions: Tensor, schema: Schema) -> np.ndarray:
    """Return decisions (N,) or (N, K) as the user wrote the targets: see `Fitted.predict`."""
    chosen = decisions.numpy()
    if schema.objective == "regression":
        return chosen.astype(np.float64)
    classes = np.asarray(schema.classes)
    if schema.objective == "classification":
        return classes[chosen]
    labels = np.empty(len(chosen), dtype=object)
    for row, holds in enumerate(chosen.astype(bool)):
        labels[row] = tuple(classes[holds].tolist())
    return labels


def targets_of(examples: Examples, schema: Schema) -> np.ndarray:
    """Return what is true of rows, in the form of `predictions_of`.

    Raises:
        InputError: If there are no targets, or one is not among those of training.
    """
    encoded = encode_targets(examples.targets, schema).numpy()
    if schema.objective == "regression":  # in the user's unit, where encoding standardises
        return np.asarray(examples.targets, dtype=np.float64)
    return encoded.astype(np.uint8) if schema.objective == "multilabel" else encoded


def row_losses(arrays: dict[str, np.ndarray], objective: Objective) -> np.ndarray:
    """Return the loss (N,) of each row: nats, for labels their mean, or the squared error."""
    targets = arrays["targets"]
    if objective == "regression":
        return (arrays["predictions"] - targets) ** 2
    probabilities = arrays["probabilities"].astype(np.float64)
    if objective == "multilabel":
        said = np.where(targets.astype(bool), probabilities, 1.0 - probabilities)
        return -np.log(np.maximum(said, SMALLEST)).mean(axis=1)
    return -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], SMALLEST))


def write_arrays(run_dir: Path, part: str, arrays: dict[str, np.ndarray]) -> None:
    """Write the predictions for one part into the run folder.

    Raises:
        RunError: If the disk is full or read-only.
    """
    payload = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_bytes(run_dir / "predictions" / f"{part}.safetensors", payload)


def write_subgroups(
    run_dir: Path,
    part: str,
    arrays: dict[str, np.ndarray],
    subgroups: pd.DataFrame | None,
    schema: Schema,
) -> None:
    """Write the results by subgroup of one part beside its predictions, where there are subgroups.

    Raises:
        RunError: If the disk is full or read-only.
    """
    if subgroups is None:
        return
    results = subgroups_of(schema.objective, arrays, subgroups, train_counts=schema.class_counts)
    write_json(run_dir / "predictions" / f"{part}_subgroups.json", results)
