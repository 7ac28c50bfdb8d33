"""The validation rows that a model does worst on, as the report shows them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.series_picture import series_picture
from mlexpert.fitted.predictions import row_losses
from mlexpert.training.tracking import write_bytes, write_json

LIST, PICTURES = "examples.json", "examples"
MOST = 24
MOST_LETTERS, MOST_COLUMNS = 200, 12


def write_worst_examples(
    run_dir: Path,
    arrays: dict[str, np.ndarray],
    row_of: Callable[[int], Examples],
    schema: Schema,
) -> None:
    """Write at most 24 rows with the highest loss into the run folder, the worst first.

    `examples.json` says of each its row, what is true and what was decided with which probability,
    and the row itself: a picture in `examples/` (of a series its lines), the beginning of a text,
    or the first columns.

    Args:
        run_dir: The run folder.
        arrays: Predictions and targets of N rows.
        row_of: Returns the one row of that number.
        schema: What is known of the training data.

    Raises:
        RunError: If the disk is full or read-only.
    """
    losses = row_losses(arrays, schema.objective)
    worst = np.argsort(-losses, kind="stable")[:MOST]
    shutil.rmtree(run_dir / PICTURES, ignore_errors=True)
    shown = [
        {
            **_content(run_dir, place, row_of(row)),
            "row": row,
            **_verdict(arrays, row, schema),
            "loss": losses[row],
        }
        for place, row in enumerate(worst.tolist())
    ]
    write_json(run_dir / LIST, shown)


def _content(run_dir: Path, place: int, row: Examples) -> dict[str, Any]:
    if row.kind == "image":
        from PIL import Image

        pixels = row.inputs.decode(0)
        flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(flat)).save(file, format="PNG")
        name = f"{PICTURES}/{place:02d}.png"
        write_bytes(run_dir / name, file.getvalue())
        return {"file": name}
    if row.kind == "text":
        return {"text": row.inputs[0][:MOST_LETTERS]}
    if row.kind == "series":
        name = f"{PICTURES}/{place:02d}.png"
        write_bytes(run_dir / name, series_picture(row.inputs[0]))
        return {"file": name}
    values = row.inputs.iloc[0, :MOST_COLUMNS]
    return {"columns": {str(name): value for name, value in values.items()}}


def _verdict(arrays: dict[str, np.ndarray], row: int, schema: Schema) -> dict[str, Any]:
    """Return what is true and what was decided, by name, with the probability of the decision."""
    target = arrays["targets"][row]
    if schema.objective == "regression":
        return {"target": target, "decision": arrays["predictions"][row], "probability": None}
    decision, probabilities = arrays["decisions"][row], arrays["probabilities"][row]
    names = schema.class_names
    if schema.objective == "classification":
        said = {"target": names[target], "decision": names[decision]}
        return {**said, "probability": probabilities[decision]}
    said = {
        key: [names[label] for label in np.flatnonzero(holds)]
        for key, holds in (("target", target), ("decision", decision))
    }
    together = np.where(decision, probabilities, 1 - probabilities).prod()
    return {**said, "probability": together}
