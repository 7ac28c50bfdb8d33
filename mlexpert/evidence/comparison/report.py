"""The report of a comparison: one HTML file, from its folder and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.errors import InputError
from mlexpert.evidence.comparison.figures import dots, recall_map
from mlexpert.evidence.comparison.words import Words
from mlexpert.evidence.metric_table import METRICS, in_words
from mlexpert.evidence.page import environment, write_page
from mlexpert.evidence.repeats import ALPHA
from mlexpert.evidence.report import REPORT, write_report
from mlexpert.evidence.run_files import read_json

MOST_ROWS = 50
"""Classes up to which recalls are a table with numbers."""


def write_comparison(path: Path) -> Path:
    """Write the report of a finished comparison, and of its runs where they have none or changed.

    Args:
        path: The folder that `compare` wrote.

    Returns:
        Path of the report.

    Raises:
        InputError: If the folder holds no finished comparison.
        RunError: If a report cannot be written.
    """
    facts = _read(path)
    for run in facts["runs"]:
        if run["status"] == "finished" and _is_old(path / run["run"]):
            write_report(path / run["run"])
    return render_comparison(path)


def render_comparison(path: Path) -> Path:
    """Write `report.html` of the comparison alone; equal folders give equal bytes.

    Raises:
        InputError: If the folder holds no finished comparison.
        RunError: If the report cannot be written.
    """
    page = environment().get_template("comparison.html.j2").render(_content(path, _read(path)))
    return write_page(path / REPORT, page)


def _read(path: Path) -> dict[str, Any]:
    missing: dict[str, str] = {}
    facts = read_json(path, "comparison.json", missing)
    if not isinstance(facts, dict) or not isinstance(facts.get("results"), dict):
        reason = missing.get("comparison.json", "it does not describe a finished comparison")
        raise InputError(f"{path}: comparison.json: {reason}. Pass what compare wrote.")
    return facts


def _is_old(run: Path) -> bool:
    """Return whether a run has something to show that its report does not."""
    report, sources = run / REPORT, [run / "run.json", run / "final_test.json"]
    written = [os.path.getmtime(file) for file in sources if file.exists()]
    return bool(written) and not (report.exists() and report.stat().st_mtime >= max(written))


def _content(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    results, metrics = facts["results"], facts["metrics"]
    words = Words(facts)
    rest = [name for name in results["means"] if name not in results["ranking"]]
    names = [*results["ranking"], *rest]
    failed = [run for run in facts["runs"] if run["status"] == "failed"]
    several_families = len({name.split("/")[0] for name in names}) > 1
    short = {name: name if several_families else name.split("/", 1)[-1] for name in names}
    parts = {
        "summary": ("Summary", True),
        "metrics": ("Metrics", True),
        "differences": ("Differences", results["differences"]),
        "classes": ("Classes", results["recalls"]),
        "runs": ("Runs", True),
        "left-out": ("Left out", facts["left_out"] or failed),
        "setup": ("Conditions", True),
    }
    return {
        "facts": facts,
        "folder": path.resolve().name,
        "part": results["part"],
        "sections": [(name, title) for name, (title, there) in parts.items() if there],
        "title": words.title,
        "task": words.task,
        "lead": words.lead(),
        "repeats": words.repeats(),
        "caution": words.caution(),
        "titles": [METRICS[metric].title for metric in metrics],
        "better": [METRICS[metric].better for metric in metrics],
        "table": [_row(name, facts, words) for name in names],
        "figures": _figures(facts, names, short),
        "alpha": ALPHA,
        "differences": words.differences(),
        "adjustment": words.adjustment(),
        "recalls": _recalls(results, names, short),
        "short": short,
        "runs": _runs(facts, names),
        "failed": failed,
        "settings": _settings(facts),
    }


def _row(name: str, facts: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """Return a recipe's row of the main table."""
    results, own = facts["results"], facts["results"]["means"][name]
    runs = [run for run in _finished(facts) if run["name"] == name]
    seconds = [run["seconds"] for run in runs if run.get("seconds") is not None]
    cells = [
        {
            "value": in_words(metric, _number(own[metric]["value"])),
            "interval": words.interval(metric, own[metric]),
            "note": own[metric]["note"],
            "best": name == _best_of(results, metric),
        }
        for metric in facts["metrics"]
    ]
    ranking = results["ranking"]
    return {
        "name": name,
        "rank": ranking.index(name) + 1 if name in ranking else None,
        "is_reference": name == results["reference"],
        "cells": cells,
        "runs": len(runs),
        "missing": len(facts["seeds"]) - len(runs),
        "seconds": float(np.mean(seconds)) if seconds else None,
    }


def _best_of(results: Mapping[str, Any], metric: str) -> str | None:
    """Return the complete recipe with the best mean of a metric."""
    sign = -1 if METRICS[metric].better == "higher" else 1
    values = {name: _number(results["means"][name][metric]["value"]) for name in results["ranking"]}
    known = {name: sign * value for name, value in values.items() if np.isfinite(value)}
    return min(known, key=lambda name: known[name]) if known else None


def _figures(
    facts: Mapping[str, Any], names: Sequence[str], short: Mapping[str, str]
) -> list[dict[str, Any]]:
    results, part = facts["results"], facts["results"]["part"]
    reference = results["reference"]
    found = []
    for metric in facts["metrics"]:
        means = [results["means"][name][metric] for name in names]
        repeats = [
            np.array(
                [
                    _number((run.get(part) or {}).get(metric))
                    for run in _finished(facts)
                    if run["name"] == name
                ]
            )
            for name in names
        ]
        figure = dots(
            metric,
            [short[name] for name in names],
            np.array([_number(mean["value"]) for mean in means]),
            np.array([[_number(mean["low"]), _number(mean["high"])] for mean in means]),
            repeats,
            reference=names.index(reference) if reference in names else None,
            color=part,
        )
        about = METRICS[metric]
        found.append({"title": about.title, "better": about.better, "figure": Markup(figure)})
    return found


def _recalls(
    results: Mapping[str, Any], names: Sequence[str], short: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return the recall of each class by recipe, as rows of a table or as a figure."""
    recalls = results["recalls"]
    if not recalls:
        return None
    values = np.array([[_number(one) for one in recalls["values"][name]] for name in names])
    if values.shape[1] > MOST_ROWS:
        figure = recall_map(values, [short[name] for name in names], color=results["part"])
        return {"figure": Markup(figure), "rows": None}
    best = np.nanmax(np.where(np.isnan(values), -1.0, values), axis=0)
    rows = [
        {
            "name": name,
            "count": count,
            "cells": [(value, value == best[k]) for value in values[:, k]],
        }
        for k, (name, count) in enumerate(
            zip(recalls["classes"], recalls["train_counts"], strict=True)
        )
    ]
    return {"figure": None, "rows": rows}


def _runs(facts: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each recipe, also for one without any finished run, and a cell a seed."""
    metric, part = facts["metrics"][0], facts["results"]["part"]
    by_key = {(run["name"], run["seed"]): run for run in facts["runs"]}
    order = [*names, *[name for name in facts["recipes"] if name not in names]]
    rows = []
    for name in order:
        cells = []
        for seed in facts["seeds"]:
            run = by_key.get((name, seed), {"status": "missing"})
            cells.append(
                {
                    "status": run["status"],
                    "link": f"{run['run']}/{REPORT}" if run["status"] == "finished" else None,
                    "value": in_words(metric, _number((run.get(part) or {}).get(metric))),
                    "seconds": run.get("seconds"),
                }
            )
        sizes = [run.get("parameters") or 0 for run in _finished(facts) if run["name"] == name]
        rows.append({"name": name, "cells": cells, "parameters": max(sizes, default=0)})
    return rows


def _settings(facts: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """Return the fields in which the recipes differ, each with its value for every recipe."""
    configs = [one["config"] for one in facts["recipes"].values()]
    fields = list(dict.fromkeys(field for config in configs for field in config))
    absent = "\N{EN DASH}"
    rows = [(field, [config.get(field, absent) for config in configs]) for field in fields]
    return [(field, values) for field, values in rows if any(one != values[0] for one in values)]


def _finished(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [run for run in facts["runs"] if run["status"] == "finished"]


def _number(value: float | None) -> float:
    """Return a number, NaN for what JSON has as null."""
    return np.nan if value is None else float(value)
