"""A page of evidence: its templates, how numbers are written in it, and how it gets to disk."""

from __future__ import annotations

import math
import os
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlexpert.errors import RunError
from mlexpert.evidence.metric_table import in_words

NOTHING = "\N{EN DASH}"
"""Stands for a number that is undefined or was not measured."""


def write_page(path: Path, page: str) -> Path:
    """Write a page so that a reader finds the old one or the new one, and return its path.

    Raises:
        RunError: If it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
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


def environment() -> Environment:
    """Return the templates' environment, with the filters that write numbers for readers."""
    made = Environment(
        loader=PackageLoader("mlexpert.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": _number,
        "small": _small,
        "quantity": _quantity,
        "share": _share,
        "count": _count,
        "when": _when,
        "duration": _duration,
    }
    return made


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
