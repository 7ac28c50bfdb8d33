"""What the command line prints: results, the catalogue and a recipe's card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from mlexpert.comparing.comparison import Comparison
    from mlexpert.fitting.trials import MemoryForecast
    from mlexpert.training.lr_range import LrRange

CURVE_ROWS, CURVE_WIDTH = 24, 40
ARGMAX = "argmax_"
"""Prefix of a metric of the plain argmax of the probabilities."""


def line(text: str = "") -> None:
    """Print a line as it is: paths and names are not markup, and a path stays in one piece."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def validation(metrics: Mapping[str, float], run_dir: Path) -> None:
    """Print the validation metrics of the chosen decision beside those of the plain argmax."""
    table = _table("Validation", "metric", *_decisions(metrics))
    for name, value in metrics.items():
        if not name.startswith(ARGMAX):
            table.add_row(name, _number(value), *_of_argmax(metrics, name))
    Console().print(table)
    line(_epochs(run_dir))


def final_test(result: Mapping[str, Any], run_dir: Path) -> None:
    """Print the test metrics with their bootstrap intervals, and that the ledger has it."""
    intervals = result["intervals"]
    first, *rest = _decisions(result)
    table = _table("Test", "metric", first, ">95 % interval", *rest)
    for name, value in result.items():
        if isinstance(value, float) and not name.startswith(ARGMAX):
            bounds = _interval(intervals.get(name))
            table.add_row(name, _number(value), bounds, *_of_argmax(result, name))
    Console().print(table)
    openings = json.loads((run_dir / "final_test.json").read_text())
    number = openings[-1]["number"]
    line(f"Opening {number} of this sealed test split; the ledger and the report show it.")


def comparison(found: Comparison) -> None:
    """Print the recipes by rank: the first metric with interval and difference, then the others."""
    from mlexpert.evidence.comparison.words import Words

    words, (first, *others) = Words(found.facts), found.facts["metrics"]
    part = found.facts["results"]["part"]
    # Two tables, as one of all columns is wider than a terminal, which cuts off digits.
    table = _table(
        f"{words.title} on {part}", "recipe", f">{first}", ">95 % interval",
        ">difference", ">adjusted p",
    )  # fmt: skip
    rest = _table("Besides", "recipe", *[f">{one}" for one in others], ">seconds")
    for name, row in found.table.iterrows():
        bounds = _interval((row[f"{first}_low"], row[f"{first}_high"]))
        own = [_number(row["difference"]), _number(row["p"])]
        table.add_row(escape(str(name)), _number(row[first]), bounds, *own)
        more = [_number(row[metric]) for metric in others]
        rest.add_row(escape(str(name)), *more, f"{row['seconds']:.1f}")
    Console().print(table, rest)
    for sentence in (words.lead(), words.repeats(), words.adjustment(), words.caution()):
        line(sentence)
    for name, reason in found.left_out.items():
        line(f"Left out: {name}: {reason}")


def catalogue(rows: list[tuple[str, int, str]]) -> None:
    """Print the name, version and claim of every recipe."""
    table = _table(None, "recipe", ">version", "claim")
    for name, version, claim in rows:
        table.add_row(name, str(version), escape(claim))
    Console().print(table)


def card(described: Mapping[str, Any]) -> None:
    """Print what a recipe says of itself."""
    line(f"{described['name']}@{described['version']}: {described['claim']}")
    for heading, key in (
        ("", "about"),
        ("Paper: ", "paper"),
        ("Differs from the paper: ", "differs"),
        ("Results: ", "results"),
        ("Source: ", "source"),
    ):
        if described[key]:
            line(f"\n{heading}{described[key]}")
    line()
    table = _table(None, "field", "type", "default", "what it is")
    for field in described["fields"]:
        table.add_row(
            field["name"],
            escape(field["type"]),
            escape(str(field["default"])),
            escape(field["doc"]),
        )
    Console().print(table)


def lr_range(found: LrRange) -> None:
    """Print the loss over the learning rate, as a curve of bars, and what is read off it."""
    table = _table("Learning-rate range", ">lr", ">smoothed loss", "")
    rows = list(zip(found.lrs, found.smoothed, strict=True))
    finite = [loss for _, loss in rows]
    low, high = min(finite), max(finite[: max(2, len(finite) // 4)])
    for lr, loss in rows[:: max(1, len(rows) // CURVE_ROWS)]:
        share = min(1.0, max(0.0, (loss - low) / (high - low))) if high > low else 0.0
        table.add_row(f"{lr:.2e}", _number(loss), "▇" * (1 + round(CURVE_WIDTH * share)))
    Console().print(table)
    if found.suggested is not None and found.minimum is not None:
        line(
            f"Steepest fall at lr={found.suggested:.2g}; lowest at {found.minimum:.2g}, a tenth of "
            f"which is {found.minimum / 10:.2g}. Compare a few rates around these."
        )
    line(found.note)


def memory(forecast: MemoryForecast) -> None:
    """Print the predicted peak of a training step over the micro-batch."""
    table = _table("Memory of a training step", ">micro-batch", ">MiB", "")
    verdicts = {True: "fits", False: "does not fit", None: "unknown"}
    for size, peak in forecast.peaks.items():
        table.add_row(str(size), "" if peak is None else _mib(peak), verdicts[forecast.fits(size)])
    Console().print(table)
    rows = f" Rows of {forecast.width} tokens, the longest." if forecast.width else ""
    line(
        f"Beyond the weights ({_mib(forecast.weights)} MiB) and the data, on {forecast.device}, "
        f"where a step may take {_mib(forecast.available)} MiB; a tenth is left alone.{rows}"
    )
    if forecast.unpredicted:
        line(f"Unknown because: {forecast.unpredicted}")


def _decisions(metrics: Mapping[str, Any]) -> list[str]:
    """Return the headings: only a choice of one class can be compared with plain argmax."""
    has_argmax = any(name.startswith(ARGMAX) for name in metrics)
    return [">adjusted decision", ">plain argmax"] if has_argmax else [">value"]


def _of_argmax(metrics: Mapping[str, Any], name: str) -> list[str]:
    return [_number(metrics.get(ARGMAX + name))] if len(_decisions(metrics)) > 1 else []


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def _table(title: str | None, *columns: str) -> Table:
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False
    )
    for column in columns:
        if column.startswith(">"):  # numbers: not cut, however narrow the terminal
            table.add_column(column.lstrip(">"), justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None or any(math.isnan(bound) for bound in interval):
        return ""
    return f"{_number(interval[0])} to {_number(interval[1])}"


def _epochs(run_dir: Path) -> str:
    run = json.loads((run_dir / "run.json").read_text())
    best, last = run["best"], run["last"]
    if (run.get("config") or {}).get("keep") == "last":
        of = f"On average over {run['folds']} folds: kept" if run.get("folds") else "Kept"
        return (
            f"{of} the last epoch, {last['epoch']}, with {last['metric']} {_number(last['value'])}."
        )
    of = f"On average over {run['folds']} folds: selected" if run.get("folds") else "Selected"
    return (
        f"{of} epoch {best['epoch']} by {best['metric']} {_number(best['value'])}; "
        f"last epoch {last['epoch']} had {_number(last['value'])}."
    )
