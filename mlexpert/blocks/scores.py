"""The scores of a model for its learning curves, cheap enough for every epoch.

Outputs may be those of one model, or (N, M, K) of the M members of an ensemble. Weights (N,) say
how much each row counts; None: all count alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mlexpert.blocks.decisions.calibration import fit_calibration
from mlexpert.blocks.decisions.label_thresholds import fit_label_temperature, label_log_likelihood
from mlexpert.blocks.decisions.temperature import log_probabilities

MOST_LOGITS = 200_000
"""Of a larger validation split every n-th row is taken, so that a temperature costs no time."""


def classification_scores(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    decide: Callable[[Tensor], Tensor],
    class_weight: Tensor | None = None,
    log_weight: Tensor | None = None,
) -> dict[str, float]:
    """Score logits by themselves and by the decisions that a rule takes on them.

    Args:
        logits: (N, K) or (N, M, K).
        targets: (N,) class indices.
        weights: (N,) or None.
        decide: Maps the logits to classes (N,).
        class_weight: (K,) weights of the classes in the loss, which the two log losses then have as
            well; None for none.
        log_weight: (K,) logarithms of the weights that the classes have in the model's softmax
            beside the natural prior: all but the rule's own scores are of the natural
            probabilities. None for none.

    Returns:
        `log_loss` in nats, `calibrated_log_loss` after the best temperature (and the best strength
        of the correction by `log_weight`), `accuracy` and `balanced_accuracy` of the rule, and
        `argmax_balanced_accuracy` of the most probable class.
    """
    decisions, log_p = decide(logits), log_probabilities(logits, 1.0, log_weight)
    in_loss = weights
    if class_weight is not None:
        of_class = class_weight[targets]
        in_loss = of_class if weights is None else weights * of_class
    return {
        "log_loss": _log_loss(log_p, targets, in_loss),
        "calibrated_log_loss": _calibrated_log_loss(logits, targets, in_loss, log_weight),
        "accuracy": _mean((decisions == targets).float(), weights),
        "balanced_accuracy": _balanced(decisions, targets, weights, log_p.shape[1]),
        "argmax_balanced_accuracy": _balanced(
            log_p.argmax(dim=1), targets, weights, log_p.shape[1]
        ),
    }


def multilabel_scores(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    decide: Callable[[Tensor], Tensor],
) -> dict[str, float]:
    """Score logits by themselves and by the labels that a rule gives.

    Args:
        logits: (N, K) or (N, M, K).
        targets: (N, K), 0 or 1.
        weights: (N,) or None.
        decide: Maps the logits to labels (N, K), as bool.

    Returns:
        `log_loss` in nats and `calibrated_log_loss` after the best temperature, means over labels;
        of the rule `subset_accuracy`, the share of rows whose labels are all right, `micro_f1` of
        all labels together, and `macro_f1`, the mean over the labels that are right or given for
        some row. Both are 1 where none is: nothing was missed.
    """
    decisions, holds = decide(logits), targets > 0.5
    mass = torch.ones(len(targets), dtype=torch.float64) if weights is None else weights.double()
    right = mass @ (decisions & holds).double()  # (K,)
    named = mass @ (decisions.double() + holds.double())
    in_use = named > 0
    return {
        "log_loss": _label_loss(logits, targets, weights, temperature=1.0),
        "calibrated_log_loss": _calibrated_label_loss(logits, targets, weights),
        "subset_accuracy": _mean((decisions == holds).all(dim=1).double(), weights),
        "micro_f1": (2 * right.sum() / named.sum()).item() if in_use.any() else 1.0,
        "macro_f1": (2 * right / named)[in_use].mean().item() if in_use.any() else 1.0,
    }


def regression_scores(
    outputs: Tensor, targets: Tensor, weights: Tensor | None = None
) -> dict[str, float]:
    """Score predicted numbers, in the unit of standardised targets.

    Args:
        outputs: (N, 1) or (N, M, 1), of which the mean over members is scored.
        targets: (N,) standardised numbers.
        weights: (N,) or None.

    Returns:
        `squared_error`, its root `rmse`, and `r2`, the share of the variance of these targets that
        is explained; 0 where they are all equal.
    """
    wanted = targets.double()
    error = _mean((outputs.double().flatten(1).mean(dim=1) - wanted).square(), weights)
    variance = _mean((wanted - _mean(wanted, weights)).square(), weights)
    return {
        "squared_error": error,
        "rmse": math.sqrt(error),
        "r2": 1 - error / variance if variance > 0 else 0.0,
    }


def _mean(values: Tensor, weights: Tensor | None) -> float:
    if weights is None:
        return values.mean().item()
    return ((values * weights).sum() / weights.sum()).item()


def _log_loss(log_p: Tensor, targets: Tensor, weights: Tensor | None) -> float:
    if weights is None:
        return F.nll_loss(log_p, targets).item()
    return _mean(F.nll_loss(log_p, targets, reduction="none"), weights)


def _calibrated_log_loss(
    logits: Tensor, targets: Tensor, weights: Tensor | None, log_weight: Tensor | None
) -> float:
    """Return the loss that a temperature will leave: what overconfidence alone costs is mendable.

    By the raw loss an epoch is chosen for its confidence, long before the ranking is best (Berta et
    al. 2025, arXiv:2501.19195).
    """
    if not torch.isfinite(logits).all():
        return math.nan
    logits, targets, weights = _every_nth(logits, targets, weights)
    temperature, strength = fit_calibration(logits, targets, weights, log_weight)
    correction = None if log_weight is None else strength * log_weight
    return _log_loss(log_probabilities(logits, temperature, correction), targets, weights)


def _calibrated_label_loss(logits: Tensor, targets: Tensor, weights: Tensor | None) -> float:
    """Return the label loss that a temperature will leave, as `_calibrated_log_loss` does."""
    if not torch.isfinite(logits).all():
        return math.nan
    logits, targets, weights = _every_nth(logits, targets, weights)
    temperature = fit_label_temperature(logits, targets, weights)
    return _label_loss(logits, targets, weights, temperature=temperature)


def _label_loss(
    logits: Tensor, targets: Tensor, weights: Tensor | None, *, temperature: float
) -> float:
    return _mean(-label_log_likelihood(logits, targets, temperature), weights)


def _every_nth(
    logits: Tensor, targets: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    step = -(-logits.numel() // MOST_LOGITS)
    return logits[::step], targets[::step], None if weights is None else weights[::step]


def _balanced(
    decisions: Tensor, targets: Tensor, weights: Tensor | None, num_classes: int
) -> float:
    """Return the mean recall over the classes that occur."""
    hit = decisions == targets
    rows = torch.bincount(targets, weights, minlength=num_classes)
    hits = torch.bincount(
        targets[hit], None if weights is None else weights[hit], minlength=num_classes
    )
    return (hits[rows > 0] / rows[rows > 0]).mean().item()
