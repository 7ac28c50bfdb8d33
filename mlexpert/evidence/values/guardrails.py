"""What the results of a regression should pass before they are believed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlexpert.evidence.metric_table import quantity
from mlexpert.evidence.predictions import ValuePredictions
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.verdict import Verdict, answer

LARGEST_BIAS = 0.1
"""Share of the RMSE that the mean error may be: one tenth adds half a percent to the RMSE."""


def value_guardrails(record: RunRecord) -> Iterator[Verdict]:
    """Yield what is asked of every regression: against the mean, and bias."""
    for question, judge in (
        ("Better than predicting the mean", _beats_mean),
        ("Predictions are right on average", _centred),
    ):
        if record.shown is None:
            yield Verdict(question, "not measured", "there are no predictions yet", "")
        else:
            yield judge(question, record.shown)


def _beats_mean(question: str, shown: PartRecord[ValuePredictions]) -> Verdict:
    """Compare squared errors row by row with those of the mean of these very targets."""
    predictions = shown.predictions
    saved = (predictions.targets - predictions.targets.mean()) ** 2 - predictions.errors**2
    return Verdict(
        question,
        answer(saved.mean() > 2 * _standard_error(saved)),
        f"RMSE {quantity(shown.metrics['rmse'])} on {shown.name}",
        f"below {quantity(shown.metrics['rmse_of_mean'])}, that of the mean, by two standard "
        "errors of the difference in squares",
    )


def _centred(question: str, shown: PartRecord[ValuePredictions]) -> Verdict:
    bound = max(LARGEST_BIAS * shown.metrics["rmse"], 2 * _standard_error(shown.predictions.errors))
    bias = shown.metrics["mean_error"]
    return Verdict(
        question,
        answer(abs(bias) <= bound),
        f"mean error {quantity(bias)} on {shown.name}",
        f"within {quantity(bound)} of 0: a tenth of the RMSE, or two standard errors",
    )


def _standard_error(values: np.ndarray) -> float:
    """Return that of the mean of `values` (N,); infinite for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf
