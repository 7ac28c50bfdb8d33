"""The report of a run: one HTML file that opens without a network and needs no script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mlexpert.data.examples import MEANS, SEQUENCES
from mlexpert.data.ledger import Ledger
from mlexpert.errors import RunError
from mlexpert.evidence import class_sections, sections
from mlexpert.evidence.continual.sections import stream
from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.example_sections import examples
from mlexpert.evidence.fold_sections import folds
from mlexpert.evidence.importance_section import importance
from mlexpert.evidence.labels.sections import label_probabilities, labels
from mlexpert.evidence.page import NOTHING, environment, write_page
from mlexpert.evidence.plots import FEWEST_ROWS
from mlexpert.evidence.record import PartRecord, RunRecord, read_run
from mlexpert.evidence.robustness.sections import robustness
from mlexpert.evidence.sequences.sections import answers
from mlexpert.evidence.subgroup_section import subgroups
from mlexpert.evidence.summaries import summary
from mlexpert.evidence.training_sections import training
from mlexpert.evidence.values.sections import values

__all__ = ["NOTHING", "REPORT", "render", "write_report"]

REPORT = "report.html"


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
    page = environment().get_template("report.html.j2").render(_content(record))
    return write_page(record.path / REPORT, page)


def _content(record: RunRecord) -> dict[str, Any]:
    shown = record.shown
    run = record.run
    by_value = subgroups(record, shown) if shown else None
    worst, columns = examples(record), importance(record)
    by_fold, of_stream = folds(record), stream(record)
    under_attack = robustness(record)
    parts = {
        "summary": ("Summary", True),
        "verdicts": ("Verdicts", True),
        "robustness": ("Robustness", under_attack),
        "stream": ("Stream", of_stream),
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
        "robustness": under_attack,
        "stream": of_stream,
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
    **{objective: {"answers": "Answers"} for objective in SEQUENCES},
}
"""Sections about what was predicted, by objective."""


def _outcome(record: RunRecord, shown: PartRecord[Any]) -> dict[str, Any]:
    """Return what the sections of `_OUTCOME` say."""
    if record.objective in SEQUENCES:
        return {"answers": answers(record)}
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
        **{objective: MEANS[objective] for objective in SEQUENCES},
    }
    return f"{record.run['schema'].get('kind', 'unknown')} rows, {what[record.objective]}"
