"""Attacks and their checks as tables for a terminal."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mlexpert.robustness.result import Robustness

WIDTH = 110
COLORS = {
    "trusted": "bold green", "passed": "green",
    "suspect": "bold yellow",
    "invalid": "bold red", "failed": "bold red",
    "not measured": "dim",
}  # fmt: skip


def as_text(found: Robustness) -> str:
    """Return the tables as plain text."""
    console = Console(file=StringIO(), width=WIDTH, color_system=None)
    console.print(rendered(found))
    file = console.file
    assert isinstance(file, StringIO), "it was made above"
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def rendered(found: Robustness) -> RenderableType:
    """Return accuracies, attacks, checks and corruptions, one below the other."""
    rows = found.rows_seen
    about = f"{rows['num_rows']} of {rows['total_rows']} rows ({found.part}), {words(found.threat)}"
    lines: list[RenderableType] = [
        Text(about),
        Text(f"clean accuracy  {found.clean}"),
        Text(f"robust accuracy {found.robust}"),
        Text.assemble("verdict: ", (found.verdict, COLORS[found.verdict])),
        _attacks(found),
        _checks(found),
    ]
    return Group(*lines, *([_corruptions(found)] if found.corruptions else []))


def words(threat: dict[str, Any]) -> str:
    """Return a threat in words."""
    return f"{threat['norm']} {threat['epsilon']:.4g} {threat['unit']}, {threat['knowledge']}"


def _attacks(found: Robustness) -> Table:
    table = _table("Attacks, each on what still stands", "attack", "", ">standing", ">broke", ">s")
    for one in found.attacks:
        before, after = one["standing_before"], one["standing_after"]
        about = ", ".join(f"{name} {_short(value)}" for name, value in one["parameters"].items())
        seconds = f"{one['seconds']:.1f}"
        table.add_row(escape(one["name"]), escape(about), str(before), str(before - after), seconds)
    return table


def _checks(found: Robustness) -> Table:
    table = _table("Can it be trusted?", "check", "verdict", "seen")
    for check in found.checks:
        verdict = Text(check.verdict, COLORS[check.verdict])
        table.add_row(escape(check.title), verdict, escape(check.detail))
    return table


def _corruptions(found: Robustness) -> Table:
    names = list(dict.fromkeys(row["name"] for row in found.corruptions))
    severities = sorted({row["severity"] for row in found.corruptions})
    table = _table("Accuracy on corrupted images", "", *(f">severity {one}" for one in severities))
    values = {(row["name"], row["severity"]): row["accuracy"] for row in found.corruptions}
    for name in names:
        table.add_row(name.replace("_", " "), *(f"{values[name, one]:.2%}" for one in severities))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False
    )
    for column in columns:
        if column.startswith(">"):
            table.add_column(column.lstrip(">"), justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
