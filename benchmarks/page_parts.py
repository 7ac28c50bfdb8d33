"""What the pages of benchmarks share: where lines were measured, and the table of targets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd


def machines(frame: pd.DataFrame) -> list[str]:
    """Return a paragraph for each machine of the lines, with threads, commits and versions."""
    said: list[str] = []
    for (machine, on), lines in frame.groupby(["machine", "on"]) if len(frame) else ():
        threads = " or ".join(map(str, sorted(lines["threads"].unique())))
        commits = ", ".join(lines["commit"].unique())
        versions = _versions(lines)
        said += ["", f"{on}: {machine}; {threads} thread(s) each; at {commits}; {versions}."]
    return said


def _versions(lines: pd.DataFrame) -> str:
    """Return every version of every package that lines were measured with."""
    found: dict[str, set[str]] = {}
    for versions in lines["versions"]:
        for name, number in versions.items():
            found.setdefault(name, set()).add(number)
    return ", ".join(f"{name} {' and '.join(sorted(numbers))}" for name, numbers in found.items())


def table_of_targets(targets: Iterable[Any]) -> list[str]:
    """Return the section of targets, each with what was `wanted`, what was `found`, its `state`."""
    head = ["## Targets", "", "| target | found | |", "| --- | --- | --- |"]
    return [*head, *(f"| {one.wanted} | {one.found} | {one.state} |" for one in targets)]
