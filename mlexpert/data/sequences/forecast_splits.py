"""Series divided by time into train, validation and a sealed test, with their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from mlexpert.data.examples import Examples, Part
from mlexpert.data.fingerprint import fingerprint, split_fingerprint
from mlexpert.data.seal import Sealed
from mlexpert.data.sequences.forecast_windows import (
    Windows,
    digests_of_rows,
    digests_of_windows,
    windows_of,
)
from mlexpert.data.sequences.timeline import PARTS, Timeline
from mlexpert.data.splits import Splits


def examples_of(timeline: Timeline, *, context: int, horizon: int) -> dict[str, Examples]:
    """Return the windows of a timeline: "all", or those of the parts that the user brought."""
    brought = np.unique(timeline.parts).tolist()
    names = ["all"] if brought == [0] else [PARTS[number] for number in brought]
    return {
        name: _examples(windows_of(timeline, number, context=context, horizon=horizon))
        for name, number in zip(names, brought, strict=True)
    }


def divide_by_time(parts: Mapping[str, Examples], *, validation: float, test: float) -> Splits:
    """Divide windows into parts that follow one another in time.

    All series are cut at the same times. The windows of a part forecast rows of that part alone;
    their history may lie in the part before. Parts that the user brought stay as they are; where
    validation is missing, it is the end of train.

    Args:
        parts: Of `examples_of`.
        validation: Share of the rows to validate on.
        test: Share of the rows to seal, where the rows are undivided; 0 for no test.

    Raises:
        InputError: If a part is too short for a single window.
    """
    pool: Windows = (parts["all"] if "all" in parts else parts["train"]).inputs
    context, horizon = pool.context, pool.horizon
    made: dict[str, Examples] = {name: part for name, part in parts.items() if name != "all"}
    phrases = [f"the user's own {', '.join(made)}, kept as given"] if made else []
    carved: dict[str, float] = {}
    if "validation" not in parts:
        carved["validation"] = validation
    if "all" in parts and test > 0:
        carved["test"] = test
    if carved:
        timeline, cuts = _cut(pool.timeline, [1 - sum(carved.values()), *carved.values()], carved)
        for number, name in ((PARTS.index(name), name) for name in ("train", *carved)):
            made[name] = _examples(windows_of(timeline, number, context=context, horizon=horizon))
        shares = " and ".join(f"{name} ({share:.0%})" for name, share in carved.items())
        phrases.append(f"{shares} the end of the series, in the order of time: from {cuts}")
    if "test" not in made:
        phrases.append("no test split")
    made = {name: replace(made[name], part=cast(Part, name)) for name in PARTS if name in made}
    digests = {name: digests_of_windows(part.inputs) for name, part in made.items()}
    name = _name_of(parts)
    sealed = made.get("test")
    return Splits(
        train=made["train"],
        validation=made["validation"],
        test=None if sealed is None else Sealed(sealed, digests["test"], name),
        how="; ".join(phrases),
        user_made=tuple(name for name in PARTS if name in parts),
        fingerprint=name,
        split_fingerprint=split_fingerprint(made, digests),
        digests=digests,
        absent={},
    )


def _examples(windows: Windows) -> Examples:
    layout = windows.timeline.layout
    return Examples(
        "series",
        windows,
        objective="forecast",
        groups=windows.groups,
        target_name=layout.targets,
        input_names=layout.values,
        notes=windows.timeline.notes,
    )


def _cut(
    timeline: Timeline, shares: list[float], carved: Mapping[str, float]
) -> tuple[Timeline, str]:
    """Return the timeline with the part of each row, and from when on the parts begin."""
    ordered = np.sort(timeline.times)
    ends = np.round(np.cumsum(shares)[:-1] * len(ordered)).astype(int).clip(0, len(ordered) - 1)
    parts = np.zeros(len(timeline), dtype=np.int8)
    begun = []
    for name, end in zip(carved, ends.tolist(), strict=True):
        parts[timeline.times >= ordered[end]] = PARTS.index(name)
        begun.append(str(ordered[end]))
    return replace(timeline, parts=parts), " and ".join(begun)


def _name_of(parts: Mapping[str, Examples]) -> str:
    """Return the fingerprint of all rows, whatever the windows over them.

    Parts share the rows of histories; each row counts once.
    """
    digests = [digests_of_rows(part.inputs.timeline) for part in parts.values()]
    rows = np.unique(np.concatenate(digests), axis=0)
    return fingerprint({"all": next(iter(parts.values()))}, {"all": rows})
