"""Decisions that a stopwatch took, remembered on the machine, so that equal runs decide alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import filelock

from mlexpert.errors import RunError
from mlexpert.training.tracking import write_json

MOST = 500
"""Decisions that are kept; the oldest go first."""


def recall(path: Path, key: str) -> dict[str, Any] | None:
    """Return what was decided under `key`, or None; a damaged file or entry counts as none."""
    entry = _read(path).get(key)
    return entry if isinstance(entry, dict) else None


def remember(path: Path, key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Write a decision down, and return the one that holds: of two processes', the first.

    Where nothing can be written the decision holds for this run, and the next one decides anew.

    Args:
        path: A JSON file; its folder is made.
        key: What was decided, with all that the decision depends on.
        entry: The decision, as JSON knows it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock"), timeout=10):
            first = recall(path, key)
            if first is not None:
                return first
            known = _read(path)
            known.pop(key, None)  # no decision, or it would have been recalled
            write_json(path, dict([*known.items(), (key, entry)][-MOST:]))
    except (OSError, RunError):  # a lock that is never free is an OSError too
        pass
    return entry


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
