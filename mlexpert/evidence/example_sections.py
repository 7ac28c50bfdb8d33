"""The rows that a model did worst on, with pictures that travel inside of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlexpert.evidence.metric_table import quantity
from mlexpert.evidence.record import RunRecord

MOST_EXAMPLES = 24
LARGEST_SIDE = 256
"""Pixels to which a larger picture is reduced, so that the page stays small."""
CRISP_BELOW = 128
"""Pixels below which a picture is enlarged without smoothing: its pixels are what the model saw."""
MOST_COLUMNS = 12
LONGEST_TEXT = 400
_THUMBNAILS, _THUMBNAIL_SIDE = 3, 64


def examples(record: RunRecord) -> dict[str, Any] | None:
    """Return the worst rows as pictures and as rows of a table; None where none were kept."""
    pictures, rows = [], []
    columns: list[str] = []
    for one in record.examples[:MOST_EXAMPLES]:
        said = _said(one)
        if "file" in one:
            picture = _picture(record.path, one["file"], LARGEST_SIDE)
            if picture:
                pictures.append(said | picture)
        elif "text" in one:
            text = str(one["text"])
            short = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
            rows.append(said | {"cells": [short]})
        elif one.get("columns"):
            columns = columns or list(one["columns"])[:MOST_COLUMNS]
            rows.append(said | {"cells": [_cell(one["columns"].get(name)) for name in columns]})
    if not pictures and not rows:
        return None
    return {
        "pictures": pictures,
        "rows": rows,
        "columns": columns or ["Text"],
        "texts": not columns,
        "probabilities": any(one["probability"] for one in [*pictures, *rows]),
        "wrong": sum(one["target"] != one["decision"] for one in [*pictures, *rows]),
    }


def thumbnails(record: RunRecord, target: str, decision: str) -> list[dict[str, Any]]:
    """Return small pictures of kept rows of one class that were decided to be of another."""
    found: list[dict[str, Any]] = []
    for one in record.examples:
        pair = (_label(one["target"]), _label(one["decision"]))
        if "file" in one and pair == (target, decision) and len(found) < _THUMBNAILS:
            picture = _picture(record.path, one["file"], _THUMBNAIL_SIDE)
            if picture:
                found.append(_said(one) | picture)
    return found


def _said(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return row, target, decision and probability of an example, in words."""
    probability = one.get("probability")
    return {
        "row": one.get("row"),
        "target": _label(one["target"]),
        "decision": _label(one["decision"]),
        "probability": "" if probability is None else f"{probability:.3f}",
    }


def _label(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(label) for label in value) or "no label"
    if isinstance(value, float):
        return quantity(value)
    return str(value)


def _cell(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:,.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _picture(run_dir: Path, name: Any, side: int) -> dict[str, Any] | None:
    """Return a picture of the run folder as a data URI of at most `side` pixels; None without it.

    What is no picture, or lies outside of the folder, is left out: a run folder may come from
    anyone.
    """
    from PIL import Image

    file = (run_dir / str(name)).resolve()
    if not file.is_relative_to(run_dir.resolve()):
        return None
    try:
        with Image.open(file) as image:
            image.load()
            size = image.size
            picture = image.convert("RGB" if image.mode not in ("L", "RGB") else image.mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((side, side))
    # Small ones keep every pixel; photographs would weigh ten times as much without loss.
    crisp = max(size) < CRISP_BELOW
    kind = "PNG" if crisp else "JPEG"
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)  # which PNG does not look at
    text = base64.b64encode(buffer.getvalue()).decode()
    return {"uri": f"data:image/{kind.lower()};base64,{text}", "crisp": crisp}
