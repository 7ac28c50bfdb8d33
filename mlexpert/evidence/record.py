"""A run folder as its report reads it: whatever is there, and what is missing.

Only `run.json` must exist. A run that was interrupted, failed, or is still going has fewer files,
and a reader of its report is told so rather than shown zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from mlexpert.data.examples import Objective
from mlexpert.data.ledger import Entry, read_chain
from mlexpert.errors import InputError, RunError
from mlexpert.evidence.objectives import scores
from mlexpert.evidence.predictions import AnyPredictions, predictions_of
from mlexpert.evidence.robustness.files import read_attacks
from mlexpert.evidence.robustness.record import AttackRecord
from mlexpert.evidence.run_files import read_json, read_rows

P_co = TypeVar("P_co", bound=AnyPredictions, covariant=True)


@dataclass(frozen=True)
class PartRecord(Generic[P_co]):
    """What the model says of one split.

    Attributes:
        name: The split.
        predictions: What was predicted of its N rows, and their targets.
        uncalibrated: (N, K) probabilities before calibration, or None.
        metrics: As of `metrics_of`.
        intervals: Metric to (low, high), where they were computed.
        notes: Metric to why its interval is missing or to be read with care.
        subgroups: "rows" and "gaps" by subgroup, or None where no subgroups were named.
    """

    name: Literal["validation", "test"]
    predictions: P_co
    uncalibrated: np.ndarray | None
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    notes: Mapping[str, str] = field(default_factory=dict)
    subgroups: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RunRecord:
    """All that a run folder holds.

    Attributes:
        path: The folder.
        run: `run.json`.
        history: Lines of `metrics.jsonl`.
        validation: The model on the validation split, or None before there are predictions.
        test: The model on the test split as last opened, or None while it is sealed.
        openings: Entries of `final_test.json`, oldest first.
        ledger: Openings by any run on this data, oldest first; empty if the chain does not hold.
        ledger_problem: Why the chain does not hold; empty where it does.
        health: Lines of `health.jsonl`: the layers' gradients and updates, once an epoch.
        profile: `profile/profile.json`, or None where the run was not profiled.
        examples: `examples.json`: rows that the model did worst on, worst first.
        importance: `importance.json`: what shuffling each column costs, or None.
        folds: The run of each fold, of an ensemble that was fitted on several.
        attacks: What attacks left standing: of the trained threat first, test before validation.
        sequences: `sequences.json`: what a model of sequences shows of its answers.
        missing: Names of files that are not there or cannot be read, with the reason.
    """

    path: Path
    run: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    validation: PartRecord[Any] | None
    test: PartRecord[Any] | None
    openings: tuple[Mapping[str, Any], ...]
    ledger: tuple[Entry, ...]
    ledger_problem: str
    health: tuple[Mapping[str, Any], ...]
    profile: Mapping[str, Any] | None
    missing: Mapping[str, str]
    examples: tuple[Mapping[str, Any], ...] = ()
    importance: Mapping[str, Any] | None = None
    folds: tuple[RunRecord, ...] = ()
    attacks: tuple[AttackRecord, ...] = ()
    sequences: Mapping[str, Any] = field(default_factory=dict)

    @property
    def objective(self) -> Objective:
        """What is predicted; runs of before it was written down were classifiers."""
        return self.run["schema"].get("objective", "classification")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Display name of each class or label; none for regression."""
        return tuple(str(name) for name in self.run["schema"]["class_names"])

    @property
    def train_counts(self) -> np.ndarray:
        """Training rows (K,) of each class, or that have each label."""
        return np.asarray(self.run["schema"]["class_counts"])

    @property
    def num_train(self) -> int:
        """Training rows."""
        return self.run["schema"].get("num_rows") or int(self.train_counts.sum())

    @property
    def shown(self) -> PartRecord[Any] | None:
        """The split that figures and verdicts are about: test once opened, else validation."""
        return self.test or self.validation

    @property
    def has_test(self) -> bool:
        """Whether there is a test split, sealed or opened."""
        parts = (self.run.get("data") or {}).get("parts") or {}
        return not parts or "test" in parts or bool(self.openings)

    def curve(self, split: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return epochs (E,) and values (E,) of a metric in the history, empty if not there."""
        rows = [
            (row["epoch"], row[metric])
            for row in self.history
            if row.get("split") == split and row.get(metric) is not None and "epoch" in row
        ]
        epochs, values = zip(*rows, strict=True) if rows else ((), ())
        return np.asarray(epochs, dtype=float), np.asarray(values, dtype=float)


def read_run(run_dir: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        InputError: If the folder holds no readable `run.json`.
    """
    path = Path(run_dir)
    missing: dict[str, str] = {}
    run = read_json(path, "run.json", missing)
    if not isinstance(run, dict) or "recipe" not in run or "schema" not in run:
        reason = missing.get("run.json", "it does not describe a run")
        raise InputError(f"{path} is not a run folder: run.json: {reason}. Pass what fit wrote.")
    openings = tuple(read_json(path, "final_test.json", missing, needed=False) or ())
    ledger, problem = _read_ledger(path, run, openings)
    return RunRecord(
        path=path,
        run=run,
        history=read_rows(path, "metrics.jsonl", missing),
        validation=_read_part(path, "validation", run, None, missing),
        test=_read_part(path, "test", run, openings[-1], missing) if openings else None,
        openings=openings,
        ledger=ledger,
        ledger_problem=problem,
        health=read_rows(path, "health.jsonl", missing, needed=False),
        profile=read_json(path, "profile/profile.json", missing, needed=False),
        missing=missing,
        examples=_read_examples(path, missing),
        importance=_read_importance(path, missing),
        folds=_read_folds(path, run, missing),
        attacks=read_attacks(path, run, missing),
        sequences=read_json(path, "sequences.json", missing, needed=False) or {},
    )


def _read_part(
    path: Path,
    name: Literal["validation", "test"],
    run: Mapping[str, Any],
    opening: Mapping[str, Any] | None,
    missing: dict[str, str],
) -> PartRecord[Any] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = path / "predictions" / f"{name}.safetensors"
    label = f"predictions/{file.name}"
    try:
        arrays = load_file(file)
        predictions = predictions_of(run["schema"].get("objective", "classification"), arrays)
    except FileNotFoundError:
        missing[label] = "not there"
        return None
    except (OSError, KeyError, SafetensorError, InputError) as error:
        missing[label] = f"cannot be read ({error})"
        return None
    metrics = scores(predictions, run["schema"]["class_counts"])
    bounds = (opening or {}).get("intervals") or {}
    intervals = {
        key: (float(pair[0]), float(pair[1]))
        for key, pair in bounds.items()
        if pair is not None and None not in pair
    }
    notes = (opening or {}).get("notes") or {}
    subgroups = _read_subgroups(path, name, run, missing)
    uncalibrated = arrays.get("uncalibrated")
    return PartRecord(name, predictions, uncalibrated, metrics, intervals, notes, subgroups)


def _read_subgroups(
    path: Path, name: str, run: Mapping[str, Any], missing: dict[str, str]
) -> Mapping[str, Any] | None:
    named = bool(((run.get("data") or {}).get("roles") or {}).get("subgroups"))
    found = read_json(path, f"predictions/{name}_subgroups.json", missing, needed=named)
    return found if isinstance(found, dict) and {"rows", "gaps"} <= found.keys() else None


def _read_examples(path: Path, missing: dict[str, str]) -> tuple[Mapping[str, Any], ...]:
    found = read_json(path, "examples.json", missing, needed=False)
    rows = found if isinstance(found, list) else []
    return tuple(
        row for row in rows if isinstance(row, dict) and {"target", "decision"} <= row.keys()
    )


def _read_importance(path: Path, missing: dict[str, str]) -> Mapping[str, Any] | None:
    found = read_json(path, "importance.json", missing, needed=False)
    return found if isinstance(found, dict) and found.get("columns") else None


def _read_folds(
    path: Path, run: Mapping[str, Any], missing: dict[str, str]
) -> tuple[RunRecord, ...]:
    """Return the runs of the folds, each a run folder of its own, in their order."""
    if not run.get("folds"):
        return ()
    found = []
    folders = [one for one in (path / "folds").glob("*") if one.name.isdigit()]
    for folder in sorted(folders, key=lambda one: int(one.name)):
        try:
            found.append(read_run(folder))
        except InputError as error:
            missing[f"folds/{folder.name}"] = str(error)
    if len(found) < run["folds"]:
        missing["folds"] = f"{len(found)} of {run['folds']} could be read"
    return tuple(found)


def _read_ledger(
    path: Path, run: Mapping[str, Any], openings: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Entry, ...], str]:
    file = path / "ledger.jsonl"
    if not file.exists():
        return (), "the ledger is missing though the test split was opened" if openings else ""
    try:
        entries = read_chain(file, str(run.get("data", {}).get("fingerprint")))
    except RunError as error:
        return (), str(error)
    if len(entries) < len(openings):
        return (), f"the ledger lists {len(entries)} openings, this run alone had {len(openings)}"
    return entries, ""
