"""Verdicts on a run: what it was asked for, and what any result should pass before it is believed.

A verdict is "passed", "failed" or "not measured"; what was not measured never reads as passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlexpert.data.examples import SEQUENCES
from mlexpert.data.nearest import did_you_mean
from mlexpert.evidence.class_guardrails import class_guardrails, prior_loss
from mlexpert.evidence.labels.guardrails import label_guardrails, label_prior_loss
from mlexpert.evidence.metric_table import METRICS, in_words, is_met, requirement
from mlexpert.evidence.record import PartRecord, RunRecord
from mlexpert.evidence.robustness.headlines import ROBUST, robust_criterion, robust_verdicts
from mlexpert.evidence.sequences.guardrails import sequence_guardrails
from mlexpert.evidence.values.guardrails import value_guardrails
from mlexpert.evidence.verdict import Verdict, answer

LARGEST_GAP = 0.3
"""Share of what was learnt on training rows that may be lost on validation rows."""
_LOSS = {
    "classification": ("log_loss", "log loss"),
    "multilabel": ("log_loss", "log loss"),
    "regression": ("squared_error", "squared error (of standardised targets)"),
    **dict.fromkeys(SEQUENCES, ("loss", "loss")),
}
"""What training lowers, by objective: its name in the history, and in words."""
_GUARDRAILS = {
    "classification": class_guardrails,
    "multilabel": label_guardrails,
    "regression": value_guardrails,
    **dict.fromkeys(SEQUENCES, sequence_guardrails),
}


def verdicts(record: RunRecord) -> list[Verdict]:
    """Return the verdicts on a run: the user's criteria first, then the guardrails."""
    return [
        *_criteria(record),
        _leakage(record),
        _opened_once(record),
        *_GUARDRAILS[record.objective](record),
        *robust_verdicts(record),
        _gap(record),
    ]


def _criteria(record: RunRecord) -> Iterator[Verdict]:
    shown = record.shown
    for name, bound in (record.run.get("criteria") or {}).items():
        if name == ROBUST:
            yield robust_criterion(record, bound)
            continue
        known = name in METRICS and METRICS[name].better is not None
        required = requirement(name, bound) if known else ""
        value = shown.metrics.get(name, np.nan) if shown else np.nan
        if shown is None or not known or np.isnan(value):
            why = _unmeasured(name, shown) if shown else "there are no predictions yet"
            yield Verdict(name, "not measured", why, required, asked=True)
            continue
        measured = f"{in_words(name, value)} on {shown.name}"
        low, high = shown.intervals.get(name, (value, value))
        if len({is_met(name, one, bound) for one in (low, value, high)}) > 1:
            ends = f"{in_words(name, low)} to {in_words(name, high)}"
            measured += f"; its 95 % interval, {ends}, leaves that open"
        yield Verdict(name, answer(is_met(name, value, bound)), measured, required, asked=True)


def _unmeasured(name: str, shown: PartRecord[Any]) -> str:
    if name not in METRICS:
        return f"no metric is called {name!r}.{did_you_mean(name, shown.metrics)}"
    if name not in shown.metrics:
        return "it is no metric of what is predicted here"
    if METRICS[name].better is None:
        return "it says nothing of the model"
    return "undefined on these rows"


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
    measured = f"{len(looked)} {'check' if len(looked) == 1 else 'checks'}" + (
        f"; {skipped} did not apply" if skipped else ""
    )
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
    return Verdict(question, answer(times == 1), measured, required)


def _gap(record: RunRecord) -> Verdict:
    question = "What was learnt carries over to new rows"
    loss, what = _LOSS[record.objective]
    required = f"at most {100 * LARGEST_GAP:.0f} % of the fall in {what} on training rows is lost"
    best, part = record.run.get("best"), record.validation
    if record.folds:
        return Verdict(question, "not measured", "each fold has its own training rows", required)
    if not best or part is None:
        return Verdict(question, "not measured", "no epoch has been selected yet", required)
    if (record.run.get("config") or {}).get("class_weight"):
        why = "the losses count classes by their weights"
        return Verdict(question, "not measured", why, required)
    if (record.run.get("data") or {}).get("weights"):
        why = "the losses count rows by their weights"
        return Verdict(question, "not measured", why, required)
    train = _at(record, ("train_clean", loss), best["epoch"])
    if np.isnan(train):
        train = _at(record, ("train", "loss"), best["epoch"])
    validation = _at(record, ("validation", loss), best["epoch"])
    if record.objective in SEQUENCES:  # which have no prior: what the first epoch left is taken
        required = required.replace("the fall", "the fall since the first epoch")
        start = _first(record, loss)
    else:
        start = _loss_of_guessing(record, part)
    if np.isnan(train) or np.isnan(validation) or np.isnan(start) or start <= train:
        return Verdict(question, "not measured", "the losses were not recorded", required)
    if train > validation:
        # Augmentation and dropout make the running training loss the larger one: no gap to judge.
        why = f"training loss {train:.3f} under augmentation is above validation's {validation:.3f}"
        return Verdict(question, "not measured", why, required)
    lost = (validation - train) / (start - train)
    measured = (
        f"{100 * lost:.1f} % lost: {train:.3f} on training rows, {validation:.3f} on validation"
    )
    return Verdict(question, answer(lost <= LARGEST_GAP), measured, required)


def _loss_of_guessing(record: RunRecord, part: PartRecord[Any]) -> float:
    """Return the loss, as it is in the history, of what is known without looking at any input."""
    if record.objective == "classification":
        return prior_loss(part, record.train_counts)
    if record.objective == "multilabel":
        return label_prior_loss(part, record.train_counts, record.num_train)
    values = record.run["schema"].get("values") or {}
    if not values.get("std"):
        return np.nan
    return float(np.mean(((part.predictions.targets - values["mean"]) / values["std"]) ** 2))


def _first(record: RunRecord, loss: str) -> float:
    """Return the loss after the first epoch on validation: what there was to fall from, at least.

    Sequences have no prior that guesses; an untrained model's loss is not recorded.
    """
    values = record.curve("validation", loss)[1]
    return float(values[0]) if len(values) > 1 else np.nan


def _at(record: RunRecord, where: tuple[str, str], epoch: float) -> float:
    epochs, values = record.curve(*where)
    found = values[epochs == epoch]
    return float(found[-1]) if len(found) else np.nan
