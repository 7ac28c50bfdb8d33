"""What the report says of attacks on the model: threat, worst case, each attack, each check."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from mlexpert.evidence.metric_table import quantity
from mlexpert.evidence.record import RunRecord
from mlexpert.evidence.robustness import figures
from mlexpert.evidence.robustness.files import trained_threat
from mlexpert.evidence.robustness.record import AttackRecord, PictureRecord, ShareRecord
from mlexpert.evidence.robustness.words import (
    VERDICT_NOTES,
    interval,
    percent,
    short_radius,
    threat_name,
    threat_sentence,
    unmet,
)

MOST_PICTURES = 8
_COLORS = ("test", "validation")
_OPTIONAL = {
    "clean": "accuracy without an attack",
    "attacks": "the gain of each attack",
    "checks": "the checks",
    "sweep": "accuracy over ε",
    "corruptions": "corruptions",
    "losses": "the loss about an input",
}
"""What a record may lack, in words."""


def robustness(record: RunRecord) -> dict[str, Any] | None:
    """Return what the section on attacks says; None for a run that has nothing to do with them."""
    trained = trained_threat(record.run)
    if not record.attacks and trained is None:
        return None
    several = [_row(one) for one in record.attacks] if len(record.attacks) > 1 else []
    return {
        "trained": threat_name(trained) if trained else "",
        "records": [_of(one, record.class_names) for one in record.attacks],
        "overview": several,
    }


def _of(one: AttackRecord, names: tuple[str, ...]) -> dict[str, Any]:
    color = one.part if one.part in _COLORS else "muted"
    lacks = [words for key, words in _OPTIONAL.items() if _is_lacking(getattr(one, key))]
    if one.threat.budgets:  # noise and blur are for images
        lacks = [words for words in lacks if words != _OPTIONAL["corruptions"]]
    return {
        "part": one.part,
        "name": threat_name(one.threat),
        "sentence": threat_sentence(one.threat),
        "budgets": [(name, quantity(value)) for name, value in (one.threat.budgets or {}).items()],
        "warning": _warning(one),
        "cards": _cards(one),
        "verdict": one.verdict,
        "verdict_note": VERDICT_NOTES[one.verdict],
        "reasons": [f"{check['title']}: {check['verdict']}" for check in unmet(one)],
        "attacks": _attacks(one),
        "seconds": _total_seconds(one),
        "standing": one.robust.correct,
        "share": one.robust.correct / max(one.num_rows, 1),
        "wrong": _wrong(one),
        "color": color,
        "num_rows": one.num_rows,
        "checks": one.checks,
        "sweep": _sweep(one, color, len(names)),
        "corruptions": _corruptions(one),
        "landscape": None
        if one.losses is None
        else Markup(figures.loss_landscape(one.losses, one.span, color=color)),
        "pictures": _pictures(one.pictures, names),
        "facts": _facts(one),
        "lacks": lacks,
    }


def _is_lacking(value: Any) -> bool:
    return value is None or (not isinstance(value, ShareRecord) and len(value) == 0)


def _warning(one: AttackRecord) -> str:
    if one.trained is None:
        return "The model was not trained against any attack."
    if one.is_as_trained:
        return ""
    return (
        f"The model was trained against {threat_name(one.trained)}, and attacked by "
        f"{threat_name(one.threat)}: this is not the accuracy that training aimed at."
    )


def _row(one: AttackRecord) -> dict[str, Any]:
    return {
        "part": one.part,
        "name": threat_name(one.threat),
        "as_trained": one.is_as_trained,
        "num_rows": one.num_rows,
        "clean": f"{one.clean.accuracy:.3f}" if one.clean else "not measured",
        "robust": f"{one.robust.accuracy:.3f}",
        "interval": interval(one.robust),
        "verdict": one.verdict,
    }


def _cards(one: AttackRecord) -> list[dict[str, Any]]:
    drawn = "" if one.total_rows in (None, one.num_rows) else f", drawn from {one.total_rows:,},"
    rows = f"{one.num_rows:,} {one.part} rows{drawn}"
    shares = [
        ("Clean accuracy", one.clean, "are decided rightly as they are."),
        ("Robust accuracy", one.robust, "are decided rightly whatever any of the attacks did."),
    ]
    return [
        {
            "name": name,
            "value": f"{share.accuracy:.3f}",
            "at": share.accuracy,
            "ends": share.interval,
            "interval": interval(share),
            "note": f"{share.correct:,} of {rows} {what}",
        }
        for name, share, what in shares
        if share is not None
    ]


def _attacks(one: AttackRecord) -> list[dict[str, Any]]:
    """Return a row for each attack, in their order."""
    return [
        {
            "name": attack["name"],
            "parameters": ", ".join(
                f"{key.replace('_', ' ')} {_value(value)}"
                for key, value in attack["parameters"].items()
            ),
            "before": attack["standing_before"],
            "after": attack["standing_after"],
            "share": attack["standing_after"] / max(one.num_rows, 1),
            "gain": attack["standing_before"] - attack["standing_after"],
            "points": 100
            * (attack["standing_before"] - attack["standing_after"])
            / max(one.num_rows, 1),
            "seconds": attack["seconds"],
        }
        for attack in one.attacks
    ]


def _wrong(one: AttackRecord) -> str:
    """Return the end of a sentence on the rows that need no attack."""
    if one.clean is None:
        return "rows decided wrongly without an attack count as broken."
    wrong = one.num_rows - one.clean.correct
    return f"the {wrong:,} rows decided wrongly without an attack count as broken."


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _total_seconds(one: AttackRecord) -> float | None:
    known = [attack["seconds"] for attack in one.attacks if attack["seconds"] is not None]
    return sum(known) if known else None


def _sweep(one: AttackRecord, color: str, num_classes: int) -> Markup | None:
    if len(one.sweep) < 2:
        return None
    drawn = figures.accuracy_over_epsilon(
        one.sweep,
        chance=1 / max(num_classes, 1),
        epsilon=one.threat.epsilon,
        label=short_radius(one.threat),
        worst=one.robust,
        unit=one.threat.unit,
        color=color,
    )
    return Markup(drawn)


def _corruptions(one: AttackRecord) -> dict[str, Any] | None:
    """Return accuracy by kind and severity, and the mean of each kind, the worst kind last."""
    if not one.corruptions:
        return None
    severities = sorted({key for by_severity in one.corruptions.values() for key in by_severity})
    rows = [
        {
            "name": name.replace("_", " "),
            "cells": [by_severity.get(severity) for severity in severities],
            "mean": float(np.mean(list(by_severity.values()))),
        }
        for name, by_severity in one.corruptions.items()
    ]
    return {"severities": severities, "rows": sorted(rows, key=lambda row: -row["mean"])}


def _pictures(found: PictureRecord | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    if found is None or not len(found.clean):
        return None
    clean, adversarial = found.clean[:MOST_PICTURES], found.adversarial[:MOST_PICTURES]
    factor = figures.magnification(clean, adversarial)
    rows = []
    for number, (one, moved) in enumerate(zip(clean, adversarial, strict=True)):
        three = (one, moved, figures.difference(one, moved, factor))
        target, before, after = (
            _class(values[number], names) for values in (found.targets, found.before, found.after)
        )
        rows.append(
            {
                "images": [figures.data_uri(picture) for picture in three],
                "target": target,
                "before": before,
                "after": after,
            }
        )
    return {"rows": rows, "factor": f"{factor:g}"}


def _class(number: Any, names: tuple[str, ...]) -> str:
    return names[int(number)] if 0 <= int(number) < len(names) else str(int(number))


def _facts(one: AttackRecord) -> list[tuple[str, str]]:
    """Return what was found of the adversarial inputs themselves, and what the record is of."""
    valid, zero, seed = one.facts["validity"], one.facts["zero_gradients"], one.facts["seed"]
    ends = valid.get("lowest"), valid.get("highest")
    said = {
        "Largest change": _largest(one, valid.get("largest")),
        "Range of the inputs": None if None in ends else f"{ends[0]:.4g} to {ends[1]:.4g}",
        "Inputs outside of the threat": valid.get("outside"),
        "Gradients that are zero": None if zero is None else percent(zero),
        "Seed": seed,
        "Measured with": one.facts["mlexpert"] and f"mlexpert {one.facts['mlexpert']}",
    }
    if one.threat.budgets:  # columns have units of their own
        del said["Range of the inputs"]
    return [(key, "not measured" if value is None else str(value)) for key, value in said.items()]


def _largest(one: AttackRecord, largest: float | None) -> str | None:
    """Return the largest distance between an input and what it was moved to."""
    if largest is None:
        return None
    if one.threat.budgets:
        return f"{largest:.6g} of a column's budget"
    return f"{largest:.6g}; ε is {one.threat.epsilon:.6g}"
