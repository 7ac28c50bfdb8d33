"""Reads the attacks on a run's model: `attacks/*.json` and the pictures beside them.

A record is believed as far as it goes. Without threat and robust accuracy there is none; whatever
else it lacks is named, and reads "not measured".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mlexpert.evidence.robustness.record import (
    AttackRecord,
    PictureRecord,
    ShareRecord,
    ThreatRecord,
)

FOLDER = "attacks"
VERDICTS = ("trusted", "suspect", "invalid")
PARTS = ("test", "validation", "given")
"""In the report's order."""
_PICTURES = ("clean", "adversarial", "targets", "before", "after")
_BROKEN = (KeyError, TypeError, ValueError, AttributeError)
"""What a field raises that is not as it should be."""

T = TypeVar("T")


def read_attacks(
    path: Path, run: Mapping[str, Any], missing: dict[str, str]
) -> tuple[AttackRecord, ...]:
    """Return the records of attacks: of the trained threat first, test before validation.

    Args:
        path: The run folder.
        run: `run.json`; its "threat" stands in where a record does not tell what was trained.
        missing: File names to why they, or parts of them, are not there.
    """
    found = [_read(file, run, missing) for file in sorted((path / FOLDER).glob("*.json"))]
    return tuple(sorted((one for one in found if one), key=_place))


def trained_threat(run: Mapping[str, Any]) -> ThreatRecord | None:
    """Return the threat that a run trained against, or None where `run.json` tells of none."""
    try:
        return _threat(run["threat"])
    except _BROKEN:
        return None


def _place(one: AttackRecord) -> tuple[Any, ...]:
    part = PARTS.index(one.part) if one.part in PARTS else len(PARTS)
    return not one.is_as_trained, part, one.threat.norm, -one.threat.epsilon, one.name


def _read(file: Path, run: Mapping[str, Any], missing: dict[str, str]) -> AttackRecord | None:
    label = f"{FOLDER}/{file.name}"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        threat, robust = _threat(facts["threat"]), _share(facts["robust"])
        part, rows = str(facts["part"]), int(facts["num_rows"])
    except OSError as error:
        missing[label] = f"cannot be read ({error})"
        return None
    except _BROKEN as error:
        missing[label] = f"is no record of an attack ({type(error).__name__}: {error})"
        return None

    def get(key: str, make: Callable[[Any], T], without: T) -> T:
        try:
            return without if facts.get(key) is None else make(facts[key])
        except _BROKEN:
            missing[f"{label}: {key}"] = "is not as it should be"
            return without

    landscape = get("landscape", _landscape, None)
    return AttackRecord(
        name=file.stem,
        part=part,
        threat=threat,
        trained=get("trained", _threat, None) or trained_threat(run),
        num_rows=rows,
        total_rows=get("total_rows", int, None),
        clean=get("clean", _share, None),
        robust=robust,
        attacks=get("attacks", _attacks, ()),
        checks=get("checks", _checks, ()),
        verdict=get("verdict", _verdict, ""),
        sweep=get("sweep", _sweep, np.empty((0, 2))),
        corruptions=get("corruptions", _corruptions, {}),
        losses=landscape[1] if landscape else None,
        span=landscape[0] if landscape else math.nan,
        facts=_facts(facts),
        pictures=_pictures(file.with_suffix(".safetensors"), missing),
    )


def _threat(facts: Mapping[str, Any]) -> ThreatRecord:
    budgets = facts.get("budgets")
    if budgets is not None and not isinstance(budgets, Mapping):
        budgets = {str(number): value for number, value in enumerate(budgets)}
    return ThreatRecord(
        norm=str(facts["norm"]),
        epsilon=float(facts["epsilon"]),
        unit=str(facts.get("unit") or ""),
        low=_number(facts.get("low")),
        high=_number(facts.get("high")),
        knowledge=str(facts.get("knowledge") or "white-box"),
        budgets={str(name): float(value) for name, value in budgets.items()} if budgets else None,
    )


def _share(facts: Mapping[str, Any]) -> ShareRecord:
    ends = facts.get("interval")
    interval = (float(ends[0]), float(ends[1])) if ends and None not in ends else None
    return ShareRecord(float(facts["accuracy"]), interval, int(facts["correct"]))


def _attacks(rows: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {
            "name": str(one["name"]),
            "parameters": dict(one.get("parameters") or {}),
            "standing_before": int(one["standing_before"]),
            "standing_after": int(one["standing_after"]),
            "seconds": _number(one.get("seconds")),
        }
        for one in rows
    )


def _checks(rows: Any) -> tuple[Mapping[str, str], ...]:
    return tuple(
        {
            "name": str(one["name"]),
            "title": str(one.get("title") or one["name"]),
            "verdict": str(one["verdict"]),
            "detail": str(one.get("detail") or ""),
        }
        for one in rows
    )


def _verdict(word: str) -> str:
    if word not in VERDICTS:
        raise ValueError(word)
    return word


def _sweep(rows: Any) -> np.ndarray:
    points = np.array([(one["epsilon"], one["accuracy"]) for one in rows], dtype=float)
    points = points.reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    return points[np.argsort(points[:, 0], kind="stable")]


def _corruptions(rows: Any) -> Mapping[str, Mapping[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for one in rows:
        found.setdefault(str(one["name"]), {})[int(one["severity"])] = float(one["accuracy"])
    return found


def _landscape(facts: Mapping[str, Any]) -> tuple[float, np.ndarray]:
    losses = np.array(facts["losses"], dtype=float)
    if losses.ndim != 2 or min(losses.shape) < 2 or not np.isfinite(losses).all():
        raise ValueError(losses.shape)
    return float(facts["span"]), losses


def _facts(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    validity = facts.get("validity")
    return {
        **{key: facts.get(key) for key in ("created", "mlexpert", "seed")},
        "zero_gradients": _number(facts.get("zero_gradients")),
        "validity": validity if isinstance(validity, Mapping) else {},
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _pictures(file: Path, missing: dict[str, str]) -> PictureRecord | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    label = f"{FOLDER}/{file.name}"
    if not file.exists():  # a table has none
        return None
    try:
        arrays = load_file(file)
        found = PictureRecord(*(arrays[name] for name in _PICTURES))
    except (OSError, KeyError, SafetensorError) as error:
        missing[label] = f"cannot be read ({error})"
        return None
    clean, rows = found.clean, len(found.clean)
    fits = clean.ndim == 4 and clean.shape == found.adversarial.shape and clean.shape[1] in (1, 3)
    if not fits or any(len(arrays[name]) != rows for name in _PICTURES):
        missing[label] = "holds no pictures of one or three channels with their classes"
        return None
    return found
