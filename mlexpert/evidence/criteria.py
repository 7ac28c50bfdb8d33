"""Verdicts on a run: what it was asked for, and what any result should pass before it is believed.

A verdict is "passed", "failed" or "not measured"; what was not measured never reads as passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlexpert.data.nearest import did_you_mean
from mlexpert.evidence.metrics import HIGHER_IS_BETTER, bin_of
from mlexpert.evidence.predictions import calibration_pairs
from mlexpert.evidence.record import PartRecord, RunRecord

Status = Literal["passed", "failed", "not measured"]

LARGEST_ECE = 0.05
"""A calibration error that nobody would mind where classes are balanced."""
LARGEST_GAP = 0.3
"""Share of what was learnt on training rows that may be lost on validation rows."""


@dataclass(frozen=True)
class Verdict:
    """One question and its answer.

    Attributes:
        question: What was asked, as a statement that holds when passed.
        status: The answer.
        measured: The numbers behind it; why not, where it was not measured.
        required: What would pass.
        asked: Whether the user asked for it (`criteria=`); otherwise it is asked of every run.
    """

    question: str
    status: Status
    measured: str
    required: str
    asked: bool = False


def verdicts(record: RunRecord) -> list[Verdict]:
    """Return the verdicts on a run: the user's criteria first, then the guardrails."""
    return [*_criteria(record), *_guardrails(record)]


def _criteria(record: RunRecord) -> Iterator[Verdict]:
    shown = record.shown
    for name, bound in (record.run.get("criteria") or {}).items():
        larger = HIGHER_IS_BETTER.get(name, True)
        required = f"at {'least' if larger else 'most'} {bound:g}"
        value = shown.metrics.get(name, np.nan) if shown else np.nan
        if shown is None or np.isnan(value):
            why = _unmeasured(name, shown) if shown else "there are no predictions yet"
            yield Verdict(name, "not measured", why, required, asked=True)
            continue
        passed = value >= bound if larger else value <= bound
        measured = f"{value:.3f} on {shown.name}"
        low, high = shown.intervals.get(name, (np.nan, np.nan))
        if low < bound < high:
            measured += f"; its 95 % interval, {low:.3f} to {high:.3f}, holds {bound:g} as well"
        yield Verdict(name, _answer(passed), measured, required, asked=True)


def _unmeasured(name: str, shown: PartRecord) -> str:
    if name in shown.metrics:
        return "undefined on these rows"
    return f"no metric is called {name!r}.{did_you_mean(name, shown.metrics)}"


def _guardrails(record: RunRecord) -> Iterator[Verdict]:
    yield _leakage(record)
    yield _opened_once(record)
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
    yield _gap(record)


def _leakage(record: RunRecord) -> Verdict:
    question, required = "The leakage audit is clean", "no warning and no error"
    findings = record.run.get("leakage") or []
    bad = [one["check"] for one in findings if one["severity"] in ("warning", "error")]
    looked = [one for one in findings if one["severity"] != "skipped"]
    if bad:
        return Verdict(question, "failed", f"found by: {', '.join(dict.fromkeys(bad))}", required)
    if not looked:
        return Verdict(question, "not measured", "no check was made", required)
    skipped = len(findings) - len(looked)
    measured = f"{len(looked)} checks" + (f"; {skipped} did not apply" if skipped else "")
    return Verdict(question, "passed", measured, required)


def _opened_once(record: RunRecord) -> Verdict:
    question, required = "The test split was opened once", "one opening, an unbroken ledger"
    if record.ledger_problem:
        return Verdict(question, "failed", record.ledger_problem, required)
    times = len(record.ledger)
    if times == 0:
        why = "it is still sealed" if record.has_test else "there is no test split"
        return Verdict(question, "not measured", why, required)
    measured = "one opening" if times == 1 else f"{times} openings, by all runs on this data"
    return Verdict(question, _answer(times == 1), measured, required)


def _beats_guessing(question: str, shown: PartRecord, counts: np.ndarray) -> Verdict:
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
        _answer(value > guess + 2 * error),
        f"balanced accuracy {value:.3f} on {shown.name}",
        f"above {guess:.3f} by two standard errors ({2 * error:.3f})",
    )


def _beats_prior(question: str, shown: PartRecord, counts: np.ndarray) -> Verdict:
    """Compare the log loss with that of stating the training frequencies for every row."""
    bound = prior_loss(shown, counts)
    value = shown.metrics["log_loss"]
    return Verdict(
        question,
        _answer(value < bound),
        f"log loss {value:.3f} on {shown.name}",
        f"below {bound:.3f}, that of stating the training frequencies",
    )


def _calibrated(question: str, shown: PartRecord, counts: np.ndarray) -> Verdict:
    bound = largest_ece(shown, counts)
    value = shown.metrics["ece"]
    return Verdict(
        question,
        _answer(value <= bound),
        f"calibration error (ECE) {value:.3f} on {shown.name}",
        f"at most {bound:.3f}",
    )


def _rule_beats_argmax(question: str, shown: PartRecord, counts: np.ndarray) -> Verdict:
    plain, value = shown.metrics["argmax_balanced_accuracy"], shown.metrics["balanced_accuracy"]
    required = f"balanced accuracy above {plain:.3f}"
    if np.array_equal(shown.predictions.decisions, shown.predictions.probabilities.argmax(axis=1)):
        return Verdict(question, "not measured", "this rule is plain argmax", required)
    return Verdict(question, _answer(value > plain), f"{value:.3f} on {shown.name}", required)


def _gap(record: RunRecord) -> Verdict:
    question = "What was learnt carries over to new rows"
    required = f"at most {100 * LARGEST_GAP:.0f} % of the fall in log loss on training rows is lost"
    best, part = record.run.get("best"), record.validation
    if not best or part is None:
        return Verdict(question, "not measured", "no epoch has been selected yet", required)
    train = _at(record, ("train_clean", "log_loss"), best["epoch"])
    if np.isnan(train):
        train = _at(record, ("train", "loss"), best["epoch"])
    validation = _at(record, ("validation", "log_loss"), best["epoch"])
    start = prior_loss(part, record.train_counts)
    if np.isnan(train) or np.isnan(validation) or start <= train:
        return Verdict(question, "not measured", "the losses were not recorded", required)
    if train > validation:
        # Augmentation and dropout make the running training loss the larger one: no gap to judge.
        why = f"training loss {train:.3f} under augmentation is above validation's {validation:.3f}"
        return Verdict(question, "not measured", why, required)
    lost = (validation - train) / (start - train)
    measured = (
        f"{100 * lost:.1f} % lost: {train:.3f} on training rows, {validation:.3f} on validation"
    )
    return Verdict(question, _answer(lost <= LARGEST_GAP), measured, required)


def prior_loss(shown: PartRecord, train_counts: np.ndarray) -> float:
    """Return the log loss of stating the training frequencies (K,) for every row."""
    prior = np.maximum(train_counts, 1) / np.maximum(train_counts, 1).sum()
    return float(-np.log(prior[shown.predictions.targets]).mean())


def largest_ece(shown: PartRecord, train_counts: np.ndarray) -> float:
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


def class_shift(shown: PartRecord, train_counts: np.ndarray) -> bool:
    """Return whether classes are not as frequent as in training, beyond what drawing rows explains.

    The share of rows that would have to change class is compared with its expectation for rows
    drawn at the training frequencies, doubled, and 5 % on top.
    """
    prior = train_counts / train_counts.sum()
    size = len(shown.predictions)
    observed = np.bincount(shown.predictions.targets, minlength=len(prior)) / size
    expected = np.sqrt(2 * prior * (1 - prior) / (np.pi * size)).sum() / 2
    return bool(np.abs(observed - prior).sum() / 2 > 0.05 + 2 * expected)


def _at(record: RunRecord, where: tuple[str, str], epoch: float) -> float:
    epochs, values = record.curve(*where)
    found = values[epochs == epoch]
    return float(found[-1]) if len(found) else np.nan


def _answer(passed: bool | np.bool_) -> Status:
    return "passed" if passed else "failed"
