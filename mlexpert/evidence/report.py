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
from mlexpert.evidence import sections
from mlexpert.evidence.criteria import verdicts
from mlexpert.evidence.plots import FEWEST_ROWS
from mlexpert.evidence.record import RunRecord, read_run
from mlexpert.evidence.subgroups import section
from mlexpert.evidence.training_sections import training

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
    return {
        "run": run,
        "folder": record.path.resolve().name,
        "name": f"{run['recipe']}@{run.get('version', '?')}",
        "status": run.get("status", "unknown"),
        "part": shown.name if shown else None,
        "epochs": len(record.curve("train", "loss")[0]),
        "summary": sections.summary(record),
        "verdicts": verdicts(record),
        "learning": sections.learning(record),
        "classes": sections.classes(record, shown) if shown else None,
        "subgroups": section(record, shown) if shown else None,
        "ranking": sections.ranking(record, shown) if shown else None,
        "calibration": sections.calibration(record, shown) if shown else None,
        "decision": sections.decision(record, shown) if shown else None,
        "data": sections.data(record),
        "openings": sections.openings(record),
        "training": training(record),
        "missing": record.missing,
        "fewest_rows": FEWEST_ROWS,
        "metric_names": sections.CURVE_NAMES,
    }


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
