"""What `fit(ds, folds=5)` does besides: a run for each fold, and one record of them all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mlexpert.data.encode import encode_targets
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.fitted import Fitted
from mlexpert.fitted.ensemble import Ensemble, logits_saying
from mlexpert.fitted.held import division_of, held_of
from mlexpert.fitted.importance import IMPORTANCE, mean_importance, write_ranked
from mlexpert.fitted.loading import from_run
from mlexpert.fitted.predictions import predictions_of, write_arrays, write_subgroups
from mlexpert.fitted.worst_examples import write_worst_examples
from mlexpert.preparation import Prepared
from mlexpert.recipe import Recipe
from mlexpert.storage.model_folder import save_model
from mlexpert.storage.run_dir import note, now
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import METRICS, RunFolder, write_text

FOLDS = "folds"
FitOne = Callable[[Recipe, Prepared, Path], Fitted]
"""Trains a settled recipe on one division of the data, in a run folder of its own."""


def whole_data(prepared: Sequence[Prepared]) -> dict[str, Any]:
    """Return what the record of the whole says of the data: every row is trained and validated."""
    first, number = prepared[0].facts, len(prepared)
    schema = whole_schema(prepared)
    rows: dict[str, Any] = {"rows": schema.num_rows}
    if schema.class_counts:
        rows["class_counts"] = list(schema.class_counts)
    how = first["how"].removeprefix(f"fold 1 of {number} to validate on, of ")
    return {
        **first,
        "split_fingerprint": division_of(prepared),
        "how": f"{number} folds, each validated on by a model of the others, of {how}",
        "parts": {**first["parts"], "train": rows, "validation": rows},
    }


def whole_schema(prepared: Sequence[Prepared]) -> Schema:
    """Return the first fold's schema with the rows and class counts of all folds together."""
    parts = [one.facts["parts"]["validation"] for one in prepared]
    counts = [part["class_counts"] for part in parts if "class_counts" in part]
    return replace(
        prepared[0].schema,
        class_counts=tuple(np.sum(counts, axis=0).tolist()) if counts else (),
        num_rows=sum(part["rows"] for part in parts),
    )


def fit_folds(
    recipe: Recipe,
    prepared: Sequence[Prepared],
    folder: RunFolder,
    engine: Engine,
    fit_one: FitOne,
) -> Ensemble:
    """Train a member on each fold, or go on with those that are not finished, and join them.

    Args:
        recipe: The settled recipe. Members differ by the seed too.
        prepared: The folds.
        folder: The run folder of the whole.
        engine: On which all are trained.
        fit_one: Trains one.

    Raises:
        RunError: If a member's training could not go on.
        Interrupted: On Ctrl-C or SIGTERM; the message says how to go on.
    """
    path, number = folder.path, len(prepared)
    members: list[Fitted] = []
    try:
        for one in prepared:
            seed = (recipe.seed + len(members)) % 2**63
            place = path / FOLDS / str(len(members))
            members.append(fit_one(replace(recipe, seed=seed), one, place))
        engine.processes.first_does(lambda: _join(recipe, prepared, members, folder))
        folder.update(status="finished", finished=now())
    except Interrupted as stop:
        note(folder, status="interrupted")
        raise Interrupted(
            f"Stopped in fold {len(members) + 1} of {number}; what was trained is kept. To go on, "
            f"fit again with folds={number} and run_dir={str(path)!r}."
        ) from stop
    except KeyboardInterrupt:
        note(folder, status="interrupted")
        raise
    except Exception as error:
        note(folder, status="failed", error=str(error))
        raise
    engine.processes.first_does(lambda: None)  # the others read what the first one wrote
    ensemble = from_run(path, recipe=type(recipe), held=held_of(prepared))
    assert isinstance(ensemble, Ensemble), "the saved model has members"
    for member in ensemble.members:
        engine.place(member.parts.network.model)
    return ensemble


def _join(
    recipe: Recipe, prepared: Sequence[Prepared], members: Sequence[Fitted], folder: RunFolder
) -> None:
    """Fit the common decision on what each row was told by the member that did not train on it."""
    path, schema = folder.path, whole_schema(prepared)
    rows = [one.splits.validation for one in prepared]
    order = np.argsort(np.concatenate([one.validation_rows for one in prepared]))
    arrays = _out_of_fold(members, order)
    rules = [member.parts.decide for member in members]
    decide = type(rules[0]).joint(rules)  # what they chose is chosen anew below
    key = "predictions" if schema.objective == "regression" else "probabilities"
    logits = logits_saying(torch.from_numpy(arrays[key]), decide, schema)
    targets = torch.cat([encode_targets(one.targets, schema) for one in rows])[order]
    weights = [one.weights for one in rows if one.weights is not None]
    mass = torch.from_numpy(np.concatenate(weights)[order]) if weights else None
    decision = decide.fit(logits, targets, mass)
    ensemble = Ensemble(recipe, schema, members, decide, facts=folder.facts, run_dir=path)
    arrays |= {
        name: array
        for name, array in predictions_of(ensemble.parts, logits, schema.objective).items()
        if name != "uncalibrated"
    }
    write_arrays(path, "validation", arrays)
    subgroups = [one.subgroups for one in rows if one.subgroups is not None]
    table = pd.concat(subgroups).iloc[order] if subgroups else None
    write_subgroups(path, "validation", arrays, table, schema)
    write_worst_examples(path, arrays, _row_of(rows, order), schema)
    _join_importance(path, members, schema)
    best, last = (_mean([member.facts[name] for member in members]) for name in ("best", "last"))
    _join_curves(path, members, best)
    size = sum(member.facts["num_parameters"] for member in members)
    folder.update(best=best, last=last, decision=asdict(decision), num_parameters=size)
    save_model(path / "model", ensemble._saved())


def _out_of_fold(members: Sequence[Fitted], order: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the folds' runs wrote of their validation rows, in the order of all rows."""
    found = [member._stored("validation") for member in members]
    return {
        name: np.concatenate([one[name] for one in found])[order]
        for name in found[0]
        if name != "cost"  # which has no rows: the joint decision says it again
    }


def _row_of(rows: Sequence[Examples], order: np.ndarray) -> Callable[[int], Examples]:
    places = [(fold, place) for fold, part in enumerate(rows) for place in range(len(part))]

    def row_of(row: int) -> Examples:
        fold, place = places[order[row]]
        return rows[fold].select(np.array([place]))

    return row_of


def _join_importance(path: Path, members: Sequence[Fitted], schema: Schema) -> None:
    files = [path / FOLDS / str(number) / IMPORTANCE for number in range(len(members))]
    found = [json.loads(file.read_text()) for file in files if file.is_file()]
    if len(found) == len(members):
        columns = mean_importance([one["columns"] for one in found])
        write_ranked(path, columns, schema, sum(one["rows"] for one in found))


def _join_curves(path: Path, members: Sequence[Fitted], best: dict[str, Any]) -> None:
    """Write the mean of the folds' learning curves, over the epochs that all of them reached."""
    curves = []
    for number in range(len(members)):
        lines = (path / FOLDS / str(number) / METRICS).read_text().splitlines()
        curves.append(_by_place([json.loads(line) for line in lines]))
    joined = [
        _mean([curve[key] for curve in curves])
        for key in curves[0]
        if all(key in curve for curve in curves)
    ]
    for row in joined:
        if row["split"] == "train_clean":  # of each fold's own best epoch
            row["epoch"] = best["epoch"]
    write_text(path / METRICS, "".join(json.dumps(row) + "\n" for row in joined))


def _by_place(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Return rows by split, task and epoch of that task, which in each fold may begin another time.

    The one of training rows in eval mode is of the best epoch, whichever that is.
    """
    begun: dict[int, int] = {}
    found = {}
    for row in rows:
        task = row.get("task", 0)
        since = row["epoch"] - begun.setdefault(task, row["epoch"])
        found[row["split"], task, -1 if row["split"] == "train_clean" else since] = row
    return found


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of every number that all rows have; what is no number is the first's."""
    joined: dict[str, Any] = {}
    for name, value in rows[0].items():
        values = [row[name] for row in rows if row.get(name) is not None]
        if isinstance(value, str):
            joined[name] = value
        elif len(values) == len(rows):
            mean = float(np.mean(values))
            # Epochs and steps; halves all go up, so that no two become one.
            joined[name] = math.floor(mean + 0.5) if isinstance(value, int) else mean
    return joined
