"""A threshold on the probability of the rarer of two classes, chosen on validation by a metric.

The metric is F1, or precision while recall is at least a number, or recall while precision is.
Below 50 validation rows of the rarer class a tuned threshold follows noise, and the class's share
of the training rows is the threshold: deciding for what is more probable than usual. Above that,
the threshold leaves the prior only for a gain above its standard error, or to hold what must be
held.

Paper: Lipton et al. 2014, arXiv:1402.1892, for why F1 asks for another threshold than one half.
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
from mlexpert.blocks.decisions.prior_adjusted import MIN_ROWS_PER_CLASS

ThresholdMetric = Literal["f1", "precision_at_recall", "recall_at_precision"]
_WORDS = {"f1": "F1", "precision_at_recall": "precision", "recall_at_precision": "recall"}


class Threshold(DecisionRule):
    """Decides for the rarer class from a probability on.

    Args:
        class_counts: (2,) training rows of each class; at equal counts the second is the positive
            one.
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
        """Return the rule at temperature and strength 1, with the prior as its threshold."""
        return Threshold(
            self.class_counts,
            self.metric,
            at_least=self.at_least,
            log_weight=self.calibration.log_weight,
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
        prior = self._prior()
        self.log_odds.fill_(prior)
        said = f"the rarer class from a probability of {_probability(prior):.3g} on, its share of "
        said += "the training rows: "
        if positives < MIN_ROWS_PER_CLASS:
            rule = f"{said}it has {positives} validation rows, and the threshold is tuned from "
            rule += f"{MIN_ROWS_PER_CLASS} upwards"
        else:
            odds = self._odds(logits)[counted].double()
            is_positive = targets[counted] == self.positive
            found = self._tune(odds, is_positive, mass[counted].double(), prior)
            self.log_odds.fill_(found[0])
            rule = f"the rarer class from a probability of {_probability(found[0]):.3g} on: "
            rule = (said if found[0] == prior else rule) + found[1]
        return Decision(
            temperature=float(self.calibration.temperature),
            tau=0.0,
            rule=rule,
            rarest_rows=int(rows.min()),
            strength=self.calibration.fitted_strength,
            threshold=_probability(float(self.log_odds)),
        )

    def _prior(self) -> float:
        here, other = self.class_counts[self.positive], self.class_counts[1 - self.positive]
        return math.log(here / other)

    def _odds(self, logits: Tensor) -> Tensor:
        """Return the log odds (N,) of the positive class: finer than a probability next to 1."""
        log_p = self.calibration.log_probabilities(logits)
        return log_p[:, self.positive] - log_p[:, 1 - self.positive]

    def _tune(
        self, odds: Tensor, is_positive: Tensor, mass: Tensor, prior: float
    ) -> tuple[float, str]:
        """Return the threshold and why it was chosen; all rows have a weight above 0."""
        curve = _curve(odds, is_positive, mass)
        at_prior = _Point.of(odds >= prior, is_positive, mass)
        held, wanted = curve.recall, curve.precision
        prior_held, prior_wanted = at_prior.recall, at_prior.precision
        if self.metric == "recall_at_precision":
            held, wanted = wanted, held
            prior_held, prior_wanted = prior_wanted, prior_held
        if self.at_least is None:
            wanted, prior_wanted, prior_holds = curve.f1, at_prior.f1, True
        else:
            wanted = torch.where(held >= self.at_least, wanted, -1.0)
            prior_holds = prior_held >= self.at_least
            if (wanted < 0).all():  # recall can be 1, so this is about precision
                best = int(held.argmax())
                why = f"no threshold reaches a precision of {self.at_least:g} on validation, and "
                return float(curve.threshold[best]), f"{why}{float(held[best]):.3f} is the highest"
        best = int(wanted.argmax())
        threshold, name = float(curve.threshold[best]), _WORDS[self.metric]
        gain = float(wanted[best]) - prior_wanted
        holding = ""
        if self.at_least is not None:
            kept = "precision" if name == "recall" else "recall"
            holding = f", while {kept} is at least {self.at_least:g}"
        if not prior_holds:
            return threshold, f"{name} on validation is {float(wanted[best]):.3f}{holding}"
        error = _error(self.metric, odds, threshold, prior, is_positive, mass)
        if gain <= error:
            return prior, f"no other threshold was better by more than a standard error{holding}"
        return threshold, f"{name} on validation is {gain:.3f} above that of the prior{holding}"


@dataclass(frozen=True)
class _Curve:
    """Precision, recall and F1 (P,) of deciding for the positive class from thresholds (P,) on."""

    threshold: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor


def _curve(odds: Tensor, is_positive: Tensor, mass: Tensor) -> _Curve:
    """Return what every threshold that tells rows apart does, the highest first."""
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
    prior: float,
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

    change = influence(odds >= threshold) - influence(odds >= prior)
    return float(change.square().sum().sqrt())


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0
