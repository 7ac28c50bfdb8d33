"""A threshold on the probability of the rarer of two classes, chosen on validation by a metric.

The metric is F1, or precision while recall is at least a number, or recall while precision is.
Below 50 validation rows of the rarer class a threshold that is tuned by them follows noise, so the
threshold is one that asks no labels. For F1 it is that of the highest F1 if the probabilities are
right, which all rows have a say in. For the others it is the class's share of the training rows:
deciding for what is more probable than usual. From 50 on, the threshold leaves that one for a gain
above its standard error (for F1 two of them), or to hold what must be held.

Paper: Lipton et al. 2014, arXiv:1402.1892, for the F1 that probabilities promise, and why it asks
for another threshold than one half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlexpert.blocks.decisions.calibration import Calibration
from mlexpert.blocks.decisions.decision import Decision, DecisionRule
from mlexpert.blocks.decisions.tuning import F1_ERRORS, MIN_ROWS_PER_CLASS

ThresholdMetric = Literal["f1", "precision_at_recall", "recall_at_precision"]
_WORDS = {"f1": "F1", "precision_at_recall": "precision", "recall_at_precision": "recall"}


class Threshold(DecisionRule):
    """Decides for the rarer class from a probability on.

    Args:
        class_counts: (2,) training rows of each class; at equal counts the second is the positive
            one.
        prior_counts: (2,) the same as they count in training, where rows have weights.
        metric: What the threshold is chosen by.
        at_least: The recall or precision that must be held on validation; None for F1.
        log_weight: (2,) as in `Calibration`; None where training was on the natural prior.

    Raises:
        ValueError: If there are not two classes with training rows, or `at_least` does not go with
            the metric.

    Example:
        >>> decide = Threshold([90, 10], "f1")  # not fitted yet: the prior is the threshold
        >>> decide.decide(torch.tensor([[0.8, 0.2], [0.95, 0.05]]).log()).tolist()
        [1, 0]
    """

    log_odds: Tensor

    def __init__(
        self,
        class_counts: Sequence[int],
        metric: ThresholdMetric,
        *,
        at_least: float | None = None,
        log_weight: Tensor | None = None,
        prior_counts: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if len(class_counts) != 2 or min(class_counts) <= 0:
            raise ValueError(
                f"a threshold is between two classes with training rows, got {list(class_counts)}"
            )
        if (at_least is None) != (metric == "f1"):
            raise ValueError(f"at_least={at_least!r} does not go with {metric}")
        self.class_counts, self.metric, self.at_least = tuple(class_counts), metric, at_least
        self.positive = 0 if class_counts[0] < class_counts[1] else 1
        self.prior_counts = self.class_counts if prior_counts is None else tuple(prior_counts)
        self.calibration = Calibration(log_weight)
        self.register_buffer("log_odds", torch.tensor(self._prior()))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the natural probabilities (N, 2) of logits (N, 2) or (N, M, 2)."""
        return self.calibration.probabilities(logits)

    def decide(self, logits: Tensor) -> Tensor:
        """Return the chosen class (N,) of logits (N, 2) or (N, M, 2)."""
        is_positive = self._odds(logits) >= self.log_odds
        return torch.where(is_positive, self.positive, 1 - self.positive)

    def unfitted(self) -> Threshold:
        """Return the rule before it was fitted, with the prior as its threshold."""
        return Threshold(
            self.class_counts,
            self.metric,
            at_least=self.at_least,
            log_weight=self.calibration.log_weight,
            prior_counts=self.prior_counts,
        )

    @torch.no_grad()
    def fit(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Decision:
        """Choose temperature and strength, and the threshold where validation has rows enough.

        Args:
            logits: (N, 2) or (N, M, 2) of the validation rows.
            targets: (N,) class indices.
            weights: (N,) how much each row counts, or None where all count alike.

        Returns:
            What was chosen and why.
        """
        self.calibration.fit(logits, targets, weights)
        mass = torch.ones(len(targets)) if weights is None else weights
        counted = mass > 0
        rows = torch.bincount(targets[counted], minlength=2)
        positives = int(rows[self.positive])
        odds = self._odds(logits)[counted].double()
        mass = mass[counted].double()
        start, reason = self._start(odds, mass)
        found, why = start, f"it has {positives} validation rows, and the threshold is tuned from "
        why += f"{MIN_ROWS_PER_CLASS} upwards"
        if positives >= MIN_ROWS_PER_CLASS:
            found, why = self._tune(odds, targets[counted] == self.positive, mass, start)
        self.log_odds.fill_(found)
        rule = f"the rarer class from a probability of {_probability(found):.3g} on"
        rule += f"{reason if found == start else ''}: {why}"
        return Decision(
            temperature=float(self.calibration.temperature),
            tau=0.0,
            rule=rule,
            rarest_rows=int(rows.min()),
            strength=self.calibration.fitted_strength,
            threshold=_probability(float(self.log_odds)),
        )

    def _prior(self) -> float:
        here, other = self.prior_counts[self.positive], self.prior_counts[1 - self.positive]
        return math.log(here / other)

    def _odds(self, logits: Tensor) -> Tensor:
        """Return the log odds (N,) of the positive class: finer than a probability next to 1."""
        log_p = self.calibration.log_probabilities(logits)
        return log_p[:, self.positive] - log_p[:, 1 - self.positive]

    def _start(self, odds: Tensor, mass: Tensor) -> tuple[float, str]:
        """Return the threshold that asks no labels, and in words what it is."""
        if self.metric != "f1" or not len(odds):
            return self._prior(), ", its share of the training rows"
        promised = _curve(odds, odds.sigmoid(), mass)
        best = float(promised.threshold[promised.f1.argmax()])
        return best, ", which is the best for F1 if the probabilities are right"

    def _tune(
        self, odds: Tensor, is_positive: Tensor, mass: Tensor, start: float
    ) -> tuple[float, str]:
        """Return the threshold and why it was chosen; all rows have a weight above 0."""
        curve = _curve(odds, is_positive, mass)
        at_start = _Point.of(odds >= start, is_positive, mass)
        held, wanted = curve.recall, curve.precision
        start_held, start_wanted = at_start.recall, at_start.precision
        if self.metric == "recall_at_precision":
            held, wanted = wanted, held
            start_held, start_wanted = start_wanted, start_held
        if self.at_least is None:
            wanted, start_wanted, start_holds = curve.f1, at_start.f1, True
        else:
            wanted = torch.where(held >= self.at_least, wanted, -1.0)
            start_holds = start_held >= self.at_least
            if (wanted < 0).all():  # recall can be 1, so this is about precision
                best = int(held.argmax())
                why = f"no threshold reaches a precision of {self.at_least:g} on validation, and "
                return float(curve.threshold[best]), f"{why}{float(held[best]):.3f} is the highest"
        best = int(wanted.argmax())
        threshold, name = float(curve.threshold[best]), _WORDS[self.metric]
        gain = float(wanted[best]) - start_wanted
        holding = ""
        if self.at_least is not None:
            kept = "precision" if name == "recall" else "recall"
            holding = f", while {kept} is at least {self.at_least:g}"
        if not start_holds:
            return threshold, f"{name} on validation is {float(wanted[best]):.3f}{holding}"
        least = F1_ERRORS if self.metric == "f1" else 1.0
        if gain <= least * _error(self.metric, odds, threshold, start, is_positive, mass):
            errors = "a standard error" if least == 1 else f"{least:g} standard errors"
            return start, f"no other threshold was better by more than {errors}{holding}"
        above = f"that from {_probability(start):.3g} on"
        return threshold, f"{name} on validation is {gain:.3f} above {above}{holding}"


@dataclass(frozen=True)
class _Curve:
    """Precision, recall and F1 (P,) of deciding for the positive class from thresholds (P,) on."""

    threshold: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor


def _curve(odds: Tensor, is_positive: Tensor, mass: Tensor) -> _Curve:
    """Return what every threshold that tells rows apart does, the highest first.

    Args:
        odds: (N,) log odds of the positive class.
        is_positive: (N,) whether a row is; or how probably, for what is to be expected.
        mass: (N,) weights of the rows.
    """
    odds, order = odds.sort(descending=True)
    is_positive, mass = is_positive[order], mass[order]
    last = torch.cat([odds[1:] != odds[:-1], torch.tensor([True])])  # of several equal rows
    hits, decided = (mass * is_positive).cumsum(0)[last], mass.cumsum(0)[last]
    total = hits[-1]
    value = odds[last]
    # Between two rows, so that rounding moves neither across; but never onto the lower one.
    below = torch.cat([value[1:], value[-1:] - 2.0])
    between = ((value + below) / 2).float()
    threshold = torch.where(between.double() > below, between, value.float())
    return _Curve(threshold, hits / decided, hits / total, 2 * hits / (decided + total))


@dataclass(frozen=True)
class _Point:
    """Precision, recall and F1 of one way of deciding."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, decided: Tensor, is_positive: Tensor, mass: Tensor) -> _Point:
        hits, given, true = (
            float(mass[rows].sum()) for rows in (decided & is_positive, decided, is_positive)
        )
        return cls(hits / given if given else 0.0, hits / true, 2 * hits / (given + true))


def _error(
    metric: ThresholdMetric,
    odds: Tensor,
    threshold: float,
    start: float,
    is_positive: Tensor,
    mass: Tensor,
) -> float:
    """Return the standard error of a metric's difference between two thresholds.

    Each metric is a ratio of sums, which a row moves by about (upper - ratio lower) / sum of lower;
    both thresholds are judged on the same rows, so the error is that of the paired difference.
    """

    def influence(decided: Tensor) -> Tensor:
        upper = mass * (decided & is_positive)
        lower = {
            "f1": mass * (decided.double() + is_positive.double()) / 2,
            "precision_at_recall": mass * decided,
            "recall_at_precision": mass * is_positive,
        }[metric]
        total = lower.sum().clamp_min(torch.finfo(torch.float64).tiny)
        return (upper - upper.sum() / total * lower) / total

    change = influence(odds >= threshold) - influence(odds >= start)
    return float(change.square().sum().sqrt())


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0
