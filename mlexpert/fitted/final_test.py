"""The opening of the sealed test split: written down first, then looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.ledger import Ledger
from mlexpert.data.schema import Schema
from mlexpert.data.seal import open_sealed
from mlexpert.errors import InputError
from mlexpert.evidence.bootstrap import intervals_of
from mlexpert.evidence.objectives import metrics_of
from mlexpert.fitted.held import Held
from mlexpert.fitted.predictions import write_arrays, write_subgroups
from mlexpert.training.tracking import write_json

FINAL_TEST = "final_test.json"


def open_test(
    run_dir: Path,
    held: Held,
    predict: Callable[[Examples], dict[str, np.ndarray]],
    schema: Schema,
    *,
    reason: str,
    recipe: str,
) -> dict[str, Any]:
    """Open the sealed test split, write the opening down, and return its metrics and intervals.

    Args:
        run_dir: The run folder, which gets the predictions, the opening and the ledger so far.
        held: What the fit held back.
        predict: What the model says of rows, with the targets beside it.
        schema: What is known of the training data.
        reason: Why it is opened, as it will stand in the ledger.
        recipe: Recipe with its version.

    Raises:
        InputError: If there is no reason, or no test split.
        RunError: If the ledger cannot be written; the split stays sealed.
    """
    if held.test is None:
        raise InputError("This run has no test split: it was fitted with test=0.")
    ledger = Ledger(held.fingerprint)
    examples = open_sealed(held.test, ledger, reason=reason, run=str(run_dir), recipe=recipe)
    arrays = predict(examples)
    write_arrays(run_dir, "test", arrays)
    write_subgroups(run_dir, "test", arrays, examples.subgroups, schema)
    counts = schema.class_counts
    metrics = metrics_of(schema.objective, arrays, train_counts=counts)
    intervals = intervals_of(schema.objective, arrays, train_counts=counts, groups=examples.groups)
    bounds = {key: (interval.low, interval.high) for key, interval in intervals.items()}
    opening = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "number": ledger.last.number if ledger.last else None,
        "metrics": metrics,
        "intervals": bounds,
        "notes": {key: interval.note for key, interval in intervals.items() if interval.note},
    }
    write_json(run_dir / FINAL_TEST, [*final_tests(run_dir), opening])
    ledger.export(run_dir / "ledger.jsonl")
    return {**metrics, "intervals": bounds}


def final_tests(run_dir: Path) -> list[dict[str, Any]]:
    """Return what earlier openings found in this run, oldest first."""
    path = run_dir / FINAL_TEST
    return json.loads(path.read_text()) if path.exists() else []
