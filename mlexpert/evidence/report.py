"""The report of a run: one HTML file that opens without a network and needs no script."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlexpert.data.ledger import Ledger
from mlexpert.errors import RunError
from mlexpert.evidence import class_sections, sections
from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.example_sections import examples
from mlexpert.evidence.fold_sections import folds
from mlexpert.evidence.importance_section import importance
from mlexpert.evidence.label_sections import label_probabilities, labels
from mlexpert.evidence.metric_table import in_words
from mlexpert.evidence.plots import FEWEST_ROWS
from mlexpert.evidence.record import PartRecord, RunRecord, read_run
from mlexpert.evidence.subgroup_section import subgroups
from mlexpert.evidence.summaries import summary
from mlexpert.evidence.training_sections import training
from mlexpert.evidence.value_sections import values

REPORT = "report.html"
NOTHING = "\N{EN DASH}"
"""Stands for a number that is undefined or was not measured."""


def write_report(run_dir: Path) -> Path:
    """Bring the run's copy of the ledger up to date, then render.

    Openings by other runs on the same data are written in the ledger alone until then. A ledger
    that was altered stands on the report as such.

    Args:
        run_dir: Folder that `fit` wrote.

    Returns:
        Path of the report.

    Raises:
        InputError: If the folder holds no readable `run.json`.
        RunError: If the report cannot be written.
    """
    record = read_run(Path(run_dir))
    ledger = Ledger(record.run["data"]["fingerprint"])
    if not ledger.path.exists():
        return render(run_dir)
    try:
        ledger.verify()
    except RunError as error:
        return _write(replace(record, ledger=(), ledger_problem=str(error)))
    ledger.export(Path(run_dir) / "ledger.jsonl")
    return render(run_dir)


def render(run_dir: Path) -> Path:
    """Write `report.html` into a run folder, from what the folder holds and nothing else.

    An unfinished run gets a report too; what is not there yet reads "not measured". Equal folders
    give equal bytes.

    Args:
        run_dir: Folder that `fit` wrote.

    Returns:
        Path of the report.

    Raises:
        InputError: If the folder holds no readable `run.json`.
        RunError: If the report cannot be written.
    """
    return _write(read_run(Path(run_dir)))


def _write(record: RunRecord) -> Path:
    page = _environment().get_template("report.html.j2").render(_content(record))
    path = record.path / REPORT
    draft = path.with_name(f".{REPORT}.{os.getpid()}")
    try:
        draft.write_text(page, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunError(
            f"cannot write {path}: {error.strerror or error}. Make room, or copy the run folder to "
            "a place that can be written."
        ) from error
    return path


def _content(record: RunRecord) -> dict[str, Any]:
    shown = record.shown
    run = record.run
    by_value = subgroups(record, shown) if shown else None
    worst, columns = examples(record), importance(record)
    by_fold = folds(record)
    parts = {
        "summary": ("Summary", True),
        "verdicts": ("Verdicts", True),
        "folds": ("Folds", by_fold),
        "learning": ("Learning", True),
        **{name: (title, True) for name, title in _OUTCOME[record.objective].items()},
        "examples": ("Worst rows", worst),
        "importance": ("Columns", columns),
        "subgroups": ("Subgroups", by_value),
        "data": ("Data", True),
        "leakage": ("Leakage", True),
        "test": ("Test ledger", True),
        "training": ("Training", True),
        "setup": ("Setup", True),
    }
    return {
        "run": run,
        "folder": record.path.resolve().name,
        "name": f"{run['recipe']}@{run.get('version', '?')}",
        "status": run.get("status", "unknown"),
        "objective": record.objective,
        "task": _task(record),
        "part": shown.name if shown else None,
        "epochs": len(record.curve("train", "loss")[0]),
        "sections": [(name, title) for name, (title, there) in parts.items() if there],
        "summary": summary(record),
        "verdicts": verdicts(record),
        "folds": by_fold,
        "learning": sections.learning(record),
        "outcome": _outcome(record, shown) if shown else None,
        "examples": worst,
        "importance": columns,
        "subgroups": by_value,
        "data": sections.data(record),
        "openings": sections.openings(record),
        "training": training(record),
        "missing": record.missing,
        "fewest_rows": FEWEST_ROWS,
        "metric_names": sections.CURVE_NAMES,
    }


_OUTCOME = {
    "classification": {"classes": "Classes", "probabilities": "Probabilities"},
    "multilabel": {"labels": "Labels", "probabilities": "Probabilities"},
    "regression": {"predictions": "Predictions"},
}
"""Sections about what was predicted, by objective."""


def _outcome(record: RunRecord, shown: PartRecord[Any]) -> dict[str, Any]:
    """Return what the sections of `_OUTCOME` say."""
    if record.objective == "regression":
        return {"numbers": values(shown)}
    if record.objective == "multilabel":
        return {
            "labels": labels(record, shown),
            "probabilities": label_probabilities(record, shown),
        }
    return {
        "classes": class_sections.classes(record, shown),
        "ranking": class_sections.ranking(record, shown),
        "calibration": class_sections.calibration(record, shown),
        "decision": class_sections.decision(record, shown),
    }


def _task(record: RunRecord) -> str:
    number = len(record.class_names)
    what = {
        "classification": f"{number} classes",
        "multilabel": f"any of {number} labels",
        "regression": "a number",
    }
    return f"{record.run['schema'].get('kind', 'unknown')} rows, {what[record.objective]}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlexpert.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "small": _small,
        "quantity": _quantity,
        "share": _share,
        "count": _count,
        "when": _when,
        "duration": _duration,
    }
    return environment


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _small(value: float | None) -> str:
    """Return a number that may be of any size with three digits."""
    return NOTHING if value is None else f"{value:.3g}"


def _quantity(value: float | None) -> str:
    """Return a number in the unit of what is predicted; a dash for None, which JSON has for NaN."""
    return in_words("rmse", value)


def _share(value: float | None) -> str:
    """Return a share in [0, 1] as the percentage of a bar's width; 0 for NaN."""
    return "0" if value is None or math.isnan(value) else f"{100 * min(max(value, 0), 1):.1f}"


def _count(value: int) -> str:
    return f"{int(value):,}"


def _when(value: str | None) -> str:
    """Return a UTC time as a reader writes it."""
    if not value:
        return NOTHING
    try:
        return datetime.fromisoformat(value).strftime("%d %b %Y, %H:%M UTC")
    except ValueError:
        return value


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
