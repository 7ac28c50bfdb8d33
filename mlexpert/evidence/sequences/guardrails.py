"""What a model of sequences should pass before its results are believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.verdict import Verdict, answer

FEWEST_NATS = 0.05
"""A model of texts below this loss has seen them: nothing that people write is so predictable."""


def sequence_guardrails(record: RunRecord) -> Iterator[Verdict]:
    """Yield what is asked of every model of sequences: to beat what needs no model."""
    questions = {
        "tokens": ("Better than guessing tokens alike", _beats_uniform),
        "tags": ("Better than giving every word the most common tag", _beats_common_tag),
        "transduction": ("Some sequences are right as a whole", _some_right),
        "forecast": ("Better than repeating the last season", _beats_naive),
    }
    question, judge = questions[record.objective]
    if record.shown is None:
        yield Verdict(question, "not measured", "there are no predictions yet", "")
        return
    yield judge(question, record, record.shown)
    if record.objective == "tokens":
        loss = record.shown.metrics["loss"]
        yield Verdict(
            "The loss is not too good to be true",
            answer(loss > FEWEST_NATS),
            f"{loss:.3f} nats a token on {record.shown.name}",
            f"above {FEWEST_NATS}: less means that these texts were trained on",
        )


def _beats_uniform(question: str, record: RunRecord, shown: PartRecord[Any]) -> Verdict:
    size = (record.run["schema"].get("text") or {}).get("vocab_size")
    if not size:
        return Verdict(question, "not measured", "the size of the vocabulary is not known", "")
    loss, guess = shown.metrics["loss"], float(np.log(size))
    measured = f"{loss:.3f} nats a token on {shown.name}"
    return Verdict(question, answer(loss < guess), measured, f"below {guess:.3f}")


def _beats_common_tag(question: str, record: RunRecord, shown: PartRecord[Any]) -> Verdict:
    value, counts = shown.metrics["tag_accuracy"], record.train_counts
    share = float(counts.max() / counts.sum())
    words = shown.predictions.counts["tokens"].sum()
    bound = share + 2 * float(np.sqrt(share * (1 - share) / words))
    return Verdict(
        question,
        answer(value > bound),
        f"{value:.3f} on {shown.name}",
        f"above {bound:.3f}: the tag's share in training, and two standard errors",
    )


def _some_right(question: str, record: RunRecord, shown: PartRecord[Any]) -> Verdict:
    value = shown.metrics["sequence_accuracy"]
    return Verdict(question, answer(value > 0), f"{value:.3f} on {shown.name}", "above 0")


def _beats_naive(question: str, record: RunRecord, shown: PartRecord[Any]) -> Verdict:
    value = shown.metrics.get("mase", np.nan)
    if np.isnan(value):
        return Verdict(question, "not measured", "the naive forecast was not made", "below 1")
    measured = f"{value:.3f} of its mean absolute error on {shown.name}"
    return Verdict(question, answer(value < 1), measured, "below 1")
