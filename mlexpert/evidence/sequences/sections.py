"""What the report shows of a model's sequences: samples, tags, pairs, or a fan of forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.evidence.record import RunRecord
from mlexpert.evidence.sequences.figures import fan, over_steps

MOST_FANS = 4
SHOWN = (
    "samples", "examples", "baselines", "by_tag", "by_entity", "by_position", "by_step",
    "by_length", "fans", "widest",
)  # fmt: skip
"""What a report may show; each family has some of it."""


def answers(record: RunRecord) -> dict[str, Any]:
    """Return what `sequences.json` holds, drawn where it is numbers; None for what is not there."""
    held = record.sequences
    shown: dict[str, Any] = dict.fromkeys(SHOWN)
    shown |= {key: held[key] for key in ("samples", "examples", "baselines") if held.get(key)}
    if record.objective == "tags":
        shown["examples"] = [_wrong_tags(one) for one in held.get("examples") or []]
    for key in ("by_tag", "by_entity"):
        if held.get(key):
            shown[key] = held[key]
    if held.get("by_position"):
        shown["by_position"] = Markup(
            over_steps(held["by_position"], "tokens read before", "loss, nats")
        )
    if held.get("by_step"):
        shown["by_step"] = Markup(
            over_steps(held["by_step"], "steps ahead", "squared error, standardised", first=1)
        )
    if held.get("by_length"):
        lengths = [row["length"] for row in held["by_length"]]
        shares = [row["accuracy"] for row in held["by_length"]]
        shown["by_length"] = Markup(
            over_steps(shares, "length", "share right as a whole", steps=lengths)
        )
    if held.get("fans"):
        shown["fans"] = [
            {"name": _name(one), "figure": Markup(fan(one))} for one in held["fans"][:MOST_FANS]
        ]
        shown["widest"] = _widest(held["fans"][0])
    return shown | {"is_empty": not any(shown.values())}


def _wrong_tags(one: dict[str, Any]) -> dict[str, Any]:
    """Return a sentence as a text, and its words whose tag is wrong."""
    tagged = zip(one["words"], one["true"], one["said"], strict=True)
    wrong = [{"word": word, "true": true, "said": said} for word, true, said in tagged
             if true != said]  # fmt: skip
    return {"sentence": " ".join(one["words"]), "wrong": wrong}


def _name(one: dict[str, Any]) -> str:
    return f"{one['series']}: {one['target']}" if one.get("series") else str(one["target"])


def _widest(one: dict[str, Any]) -> str:
    """Return the share of values that the outer quantiles of a fan are to hold, in words."""
    levels = sorted(float(level) for level in one.get("quantiles") or {})
    if len(levels) < 2:
        return ""
    return f"{100 * (np.max(levels) - np.min(levels)):.0f} %"
