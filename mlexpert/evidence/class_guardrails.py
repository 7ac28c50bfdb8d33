"""What a classifier's results should pass before they are believed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlexpert.evidence.metrics import bin_of
from mlexpert.evidence.predictions import Predictions, calibration_pairs
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
        ("The decision rule beats plain argmax", _rule_beats_argmax),
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
    question: str, shown: PartRecord[Predictions], counts: np.ndarray
) -> Verdict:
    plain, value = shown.metrics["argmax_balanced_accuracy"], shown.metrics["balanced_accuracy"]
    required = f"balanced accuracy above {plain:.3f}"
    if np.array_equal(shown.predictions.decisions, shown.predictions.probabilities.argmax(axis=1)):
        return Verdict(question, "not measured", "this rule is plain argmax", required)
    return Verdict(question, answer(value > plain), f"{value:.3f} on {shown.name}", required)


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
