"""What all processes see alike, so that all decide alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlexpert.training.memory.sizing import Probe


def agreed(
    predict: Callable[[int], int | None],
    probe: Callable[[int], Probe],
    agree_min: Callable[[int], int],
) -> tuple[Callable[[int], int | None], Callable[[int], Probe]]:
    """Make every process see the largest need, the slowest time and anybody's failure."""
    predictions: dict[int, int | None] = {}

    def agree_max(value: int) -> int:
        return -agree_min(-value)

    def agree_known(value: int | None) -> int | None:
        if not agree_min(int(value is not None)):
            return None
        return agree_max(value or 0)

    def predict_together(size: int) -> int | None:
        if size not in predictions:
            predictions[size] = agree_known(predict(size))
        return predictions[size]

    def probe_together(size: int) -> Probe:
        made = probe(size)
        return replace(
            made,
            fits=bool(agree_min(int(made.fits))),
            measured=agree_known(made.measured),
            row_seconds=agree_max(round(made.row_seconds * 1e9)) / 1e9,
            too_few_rows=bool(agree_max(int(made.too_few_rows))),
        )

    return predict_together, probe_together
