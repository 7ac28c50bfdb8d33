"""Files of a run folder, read as far as they go: a run may have been killed at any point."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_json(path: Path, name: str, missing: dict[str, str], *, needed: bool = True) -> Any:
    """Return what a JSON file says, or None; `missing` gets the reason where one is due.

    Args:
        path: The run folder.
        name: The file in it.
        missing: File names to why they are not there.
        needed: Whether a file that does not exist is missed at all.
    """
    try:
        return json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if needed:
            missing[name] = "not there"
    except (OSError, ValueError) as error:
        missing[name] = f"cannot be read ({error})"
    return None


def read_rows(
    path: Path, name: str, missing: dict[str, str], *, needed: bool = True
) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of a file of JSON lines; empty where it cannot be read, as in `read_json`."""
    try:
        lines = (path / name).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        if needed:
            missing[name] = "not there"
        return ()
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # a run that was killed may have left half a line
            continue
        if isinstance(row, dict):
            rows.append(row)
    return tuple(rows)
