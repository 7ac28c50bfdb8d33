"""What a classifier's results should pass before they are believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from mlexpert.evidence.metrics import bin_of
from mlexpert.evidence.predictions import Predictions, calibration_pairs, positive_class
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.verdict import Verdict, answer

LARGEST_ECE = 0.05
"""A calibration error that nobody would mind where classes are balanced."""


def class_guardrails(record: RunRecord) -> Iterator[Verdict]:
    """Yield what is asked of every classifier: against guessing, the prior, and plain argmax."""
    shown = record.shown
    for question, judge in (
        ("Better than always guessing one class", _beats_guessing),
        ("Probabilities say more than class frequencies", _beats_prior),
        ("Probabilities are calibrated", _calibrated),
        ("The decision rule beats plain argmax", partial(_rule_beats_argmax, record)),
    ):
        if shown is None:
            yield Verdict(question, "not measured", "there are no predictions yet", "")
            continue
        part = shown
        if judge is _calibrated and record.validation and class_shift(shown, record.train_counts):
            part = record.validation  # probabilities cannot look calibrated on other frequencies
        yield judge(question, part, record.train_counts)


def _beats_guessing(question: str, shown: PartRecord[Predictions], counts: np.ndarray) -> Verdict:
    """Compare the mean recall with that of one constant answer, allowing for its standard error."""
    predictions = shown.predictions
    support = np.bincount(predictions.targets, minlength=len(counts))
    present = support > 0
    right = predictions.targets[predictions.decisions == predictions.targets]
    recall = np.bincount(right, minlength=len(counts))[present] / support[present]
    error = np.sqrt((recall * (1 - recall) / support[present]).sum()) / present.sum()
    guess = 1 / present.sum()
    value = shown.metrics["balanced_accuracy"]
    return Verdict(
        question,
        answer(value > guess + 2 * error),
        f"balanced accuracy {value:.3f} on {shown.name}",
        f"above {guess:.3f} by two standard errors ({2 * error:.3f})",
    )


def _beats_prior(question: str, shown: PartRecord[Predictions], counts: np.ndarray) -> Verdict:
    """Compare the log loss with that of stating the training frequencies for every row."""
    bound = prior_loss(shown, counts)
    value = shown.metrics["log_loss"]
    return Verdict(
        question,
        answer(value < bound),
        f"log loss {value:.3f} on {shown.name}",
        f"below {bound:.3f}, that of stating the training frequencies",
    )


def _calibrated(question: str, shown: PartRecord[Predictions], counts: np.ndarray) -> Verdict:
    bound = largest_ece(shown, counts)
    value = shown.metrics["ece"]
    return Verdict(
        question,
        answer(value <= bound),
        f"calibration error (ECE) {value:.3f} on {shown.name}",
        f"at most {bound:.3f}",
    )


def _rule_beats_argmax(
    record: RunRecord, question: str, shown: PartRecord[Predictions], counts: np.ndarray
) -> Verdict:
    """Compare the rule with argmax by what the decision is for."""
    config = record.run.get("config") or {}
    judge, argmax = config.get("decide_for"), shown.predictions.probabilities.argmax(axis=1)
    metric, plain = "balanced accuracy", shown.metrics["argmax_balanced_accuracy"]
    value = shown.metrics["balanced_accuracy"]
    if shown.predictions.cost is not None:
        plain = float(shown.predictions.cost[shown.predictions.targets, argmax].mean())
        value, metric = shown.metrics["expected_cost"], "mean cost"
    elif judge in ("f1", "precision_at_recall", "recall_at_precision"):
        precision, recall, f1 = _of_rarer(shown.predictions, counts)
        if judge == "f1" and len(counts) == 2:
            plain = _of_rarer(replace(shown.predictions, decisions=argmax), counts)[2]
            metric, value = "F1 of the rarer class", f1
        elif judge == "f1":
            metric, plain = "macro F1", shown.metrics["argmax_macro_f1"]
            value = shown.metrics["macro_f1"]
        else:
            held, value = (
                ("recall", recall) if judge.endswith("recall") else ("precision", precision)
            )
            least = float(config["at_least"])
            question = f"The decision rule holds the {held} that was asked for"
            measured = f"{value:.3f} of the rarer class on {shown.name}"
            return Verdict(question, answer(value >= least), measured, f"at least {least:g}")
    lower = metric == "mean cost"
    required = f"{metric} {'below' if lower else 'above'} {plain:.3f}"
    if not shown.predictions.num_adjusted:
        return Verdict(question, "not measured", "this rule is plain argmax", required)
    better = value < plain if lower else value > plain
    return Verdict(question, answer(better), f"{value:.3f} on {shown.name}", required)


def _of_rarer(predictions: Predictions, counts: np.ndarray) -> tuple[float, float, float]:
    """Return precision, recall and F1 of the rarer class; 0 where none is decided for it."""
    rarer = positive_class(counts)
    truth, chosen = predictions.targets == rarer, predictions.decisions == rarer
    hits = float((truth & chosen).sum())
    named = truth.sum() + chosen.sum()
    return (
        hits / max(chosen.sum(), 1),
        hits / max(truth.sum(), 1),
        2 * hits / max(named, 1),
    )


def prior_loss(shown: PartRecord[Predictions], train_counts: np.ndarray) -> float:
    """Return the log loss of stating the training frequencies (K,) for every row."""
    prior = np.maximum(train_counts, 1) / np.maximum(train_counts, 1).sum()
    return float(-np.log(prior[shown.predictions.targets]).mean())


def largest_ece(shown: PartRecord[Predictions], train_counts: np.ndarray) -> float:
    """Return the calibration error up to which a model passes.

    Few rows give a perfectly calibrated model an error too. The bound is the 95 % point of that
    error by simulation or `LARGEST_ECE`, whichever is larger; with two classes the latter shrinks
    with the share of the rarer one, which always saying 0 would otherwise pass.
    """
    confidence, came_true = calibration_pairs(shown.predictions, train_counts)
    minded = LARGEST_ECE
    if shown.predictions.num_classes == 2:
        minded *= 2 * min(came_true.mean(), 1 - came_true.mean())
    bins = bin_of(confidence)
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        gaps = confidence - (generator.random(len(confidence)) < confidence)
        errors.append(np.abs(np.bincount(bins, gaps)).sum() / len(confidence))
    return float(max(minded, np.quantile(errors, 0.95)))


def class_shift(shown: PartRecord[Predictions], train_counts: np.ndarray) -> bool:
    """Return whether classes are not as frequent as in training, beyond what drawing rows explains.

    The share of rows that would have to change class is compared with its expectation for rows
    drawn at the training frequencies, doubled, and 5 % on top.
    """
    prior = train_counts / train_counts.sum()
    size = len(shown.predictions)
    observed = np.bincount(shown.predictions.targets, minlength=len(prior)) / size
    expected = np.sqrt(2 * prior * (1 - prior) / (np.pi * size)).sum() / 2
    return bool(np.abs(observed - prior).sum() / 2 > 0.05 + 2 * expected)
