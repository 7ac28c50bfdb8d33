"""What a model says of a split: computed once, and kept in the run folder for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save
from torch import Tensor

from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.evidence.subgroups import subgroup_gaps, subgroup_metrics
from mlexpert.recipe import Parts
from mlexpert.training.tracking import write_bytes, write_json


def predictions_of(parts: Parts, logits: Tensor) -> dict[str, np.ndarray]:
    """Return probabilities, their uncalibrated twins and the decisions, for logits (N, K)."""
    return {
        "probabilities": parts.decide.probabilities(logits).float().numpy(),
        "uncalibrated": logits.softmax(dim=-1).numpy(),
        "decisions": parts.decide.decide(logits).numpy(),
    }


def write_arrays(run_dir: Path, part: str, arrays: dict[str, np.ndarray]) -> None:
    """Write the predictions for one part into the run folder.

    Raises:
        RunError: If the disk is full or read-only.
    """
    payload = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_bytes(run_dir / "predictions" / f"{part}.safetensors", payload)


def write_subgroups(
    run_dir: Path, part: str, arrays: dict[str, np.ndarray], examples: Examples, schema: Schema
) -> None:
    """Write the results by subgroup of one part beside its predictions, where there are subgroups.

    Raises:
        RunError: If the disk is full or read-only.
    """
    if examples.subgroups is None:
        return
    rows = subgroup_metrics(
        arrays["probabilities"],
        arrays["decisions"],
        arrays["targets"],
        examples.subgroups,
        train_counts=schema.class_counts,
    )
    path = run_dir / "predictions" / f"{part}_subgroups.json"
    write_json(path, {"rows": rows, "gaps": subgroup_gaps(rows)})
