"""What the results of a model that gives labels should pass before they are believed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlexpert.evidence.labels.metrics import label_log_loss
from mlexpert.evidence.metrics import mean_defined
from mlexpert.evidence.predictions import LabelPredictions
from mlexpert.evidence.ranking import ratio
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.verdict import Verdict, answer


def label_guardrails(record: RunRecord) -> Iterator[Verdict]:
    """Yield what is asked of every such model: against guessing, the prior, and one half."""
    for question, judge in (
        ("Better than giving every row the same labels", _beats_guessing),
        ("Probabilities say more than label frequencies", _beats_prior),
        ("The decision rule beats a threshold of one half", _rule_beats_half),
    ):
        if record.shown is None:
            yield Verdict(question, "not measured", "there are no predictions yet", "")
        else:
            yield judge(question, record.shown, record)


def label_prior_loss(
    shown: PartRecord[LabelPredictions], train_counts: np.ndarray, num_train: int
) -> float:
    """Return the log loss of stating each label's share of the training rows for every row."""
    prior = np.clip(train_counts, 0.5, num_train - 0.5) / num_train
    targets = shown.predictions.targets
    return float(label_log_loss(np.broadcast_to(prior, targets.shape), targets).mean())


def best_constant_f1(targets: np.ndarray) -> float:
    """Return the best micro F1 of one set of labels for all rows, of targets (N, K)."""
    support = np.sort(targets.sum(axis=0))[::-1]
    given = len(targets) * np.arange(1, len(support) + 1)
    return float((2 * support.cumsum() / (given + support.sum())).max())


def _beats_guessing(
    question: str, shown: PartRecord[LabelPredictions], record: RunRecord
) -> Verdict:
    bound, value = best_constant_f1(shown.predictions.targets), shown.metrics["micro_f1"]
    return Verdict(
        question,
        answer(value > bound),
        f"micro F1 {value:.3f} on {shown.name}",
        f"above {bound:.3f}, that of the best set of labels for all rows",
    )


def _beats_prior(question: str, shown: PartRecord[LabelPredictions], record: RunRecord) -> Verdict:
    bound = label_prior_loss(shown, record.train_counts, record.num_train)
    value = shown.metrics["log_loss"]
    return Verdict(
        question,
        answer(value < bound),
        f"log loss {value:.3f} on {shown.name}",
        f"below {bound:.3f}, that of stating the training frequencies",
    )


def _rule_beats_half(
    question: str, shown: PartRecord[LabelPredictions], record: RunRecord
) -> Verdict:
    predictions = shown.predictions
    plain = predictions.probabilities >= 0.5
    bound, value = macro_f1(plain, predictions.targets), shown.metrics["macro_f1"]
    required = f"macro F1 above {bound:.3f}"
    if np.array_equal(plain, predictions.decisions):
        return Verdict(question, "not measured", "every label's threshold is one half", required)
    return Verdict(question, answer(value > bound), f"{value:.3f} on {shown.name}", required)


def macro_f1(decisions: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean F1 over the labels that are right or given anywhere, of (N, K) booleans."""
    hits, named = (decisions & targets).sum(axis=0), decisions.sum(axis=0) + targets.sum(axis=0)
    return float(mean_defined(ratio(2 * hits, named)))
