"""Classifiers of series that are solved for, not trained: ridge regression on fixed features.

Paper: Dempster et al. 2020, arXiv:1910.13051, section 3.2 (ridge regression for few rows, its
    penalty by cross-validation).
Differs from the paper: scores are scaled to be logits, by the likelihood of rows that were left
    out; the paper's classifier has no probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.backbones.rocket_classifier import RocketClassifier
from mlexpert.blocks.statistics.leave_one_out import ridge_by_leave_one_out
from mlexpert.training.method import Batch, Task
from mlexpert.training.methods.supervised import Supervised

BIAS_ROWS = 256
"""Rows that biases are taken from, at most: each kernel looks at one at each dilation."""
CONSTANT = 1e-5
"""Deviation, beside the mean, of a feature that is the same for all rows."""
SCALES = torch.logspace(-1, 3, 81, dtype=torch.float64)
"""That are tried to make logits of scores."""


class SolvedSeries(Supervised):
    """Finds biases, moments and head of a `RocketClassifier` at the end of its only task.

    Args:
        loss: Maps logits and targets to losses (B,), for what the run says of itself.
        class_weight: (K,) how much a row of each class counts. None: all alike.
    """

    def __init__(
        self, loss: Callable[[Tensor, Tensor], Tensor], class_weight: Tensor | None
    ) -> None:
        super().__init__(loss)
        self.class_weight = class_weight
        self.register_buffer("penalty", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def end_task(self, model: nn.Module, task: Task) -> None:
        """Look at all training rows twice, and write what is found into the model."""
        assert isinstance(model, RocketClassifier) and task.batches is not None
        model.convolutions.choose_biases(*model.stem(some_rows(task.batches(), BIAS_ROWS)))
        features, targets, weights = self._rows(model, task.batches())
        model.centre.copy_(features.mean(dim=0))
        spread = features.std(dim=0, correction=0)
        # What is the same for all rows, up to rounding, says nothing, and must not for others.
        varies = spread > CONSTANT * (1 + model.centre.abs())
        model.spread.copy_(torch.where(varies, spread, torch.inf))
        model.num_rows.fill_(len(features))
        ridge = ridge_by_leave_one_out(model.standardised(features), 2 * targets - 1, weights)
        scale = likeliest_scale(ridge.left_out, targets, weights)
        model.head.weight.copy_(scale * ridge.weight.T)
        model.head.bias.copy_(scale * ridge.bias)
        self.get_buffer("penalty").fill_(ridge.penalty)

    def _rows(
        self, model: RocketClassifier, rows: Iterator[Batch]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (N, P), targets (N, K) of 0 and 1, and weights (N,), of all rows."""
        features, targets, weights = [], [], []
        for batch in rows:
            features.append(model.features(batch.inputs))
            own = batch.targets
            one_hot = own if own.ndim == 2 else F.one_hot(own, model.head.out_features)
            targets.append(one_hot.double())
            weight = one_hot.new_ones(len(own)).double()
            if self.class_weight is not None:
                weight = weight * self.class_weight.to(own.device)[own]
            weights.append(weight if batch.weights is None else weight * batch.weights)
        return torch.cat(features), torch.cat(targets), torch.cat(weights)


def some_rows(rows: Iterator[Batch], most: int) -> Tensor:
    """Return the series (N, T, C) of rows drawn by torch's generator, padded with NaN."""
    kept: list[tuple[float, Tensor]] = []
    for batch in rows:
        drawn = torch.rand(len(batch)).tolist()
        kept = sorted([*kept, *zip(drawn, batch.inputs, strict=True)], key=lambda one: one[0])[
            :most
        ]
    series = [one for _, one in kept]
    return nn.utils.rnn.pad_sequence(series, batch_first=True, padding_value=torch.nan)


def likeliest_scale(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """Return the factor that makes scores the logits under which the targets are the likeliest.

    One of N + 2 rows is taken to be of any class, as in Platt 1999, section 2.2: where all are
    right, the likelihood alone would make them certain.

    Args:
        scores: (N, K).
        targets: (N, K) of 0 and 1; of one 1 a row, or of any number.
        weights: (N,) how much each row counts. None: 1.
    """
    is_one = bool((targets.sum(dim=1) == 1).all())
    unknown = 1 / (len(targets) + 2)
    targets = targets * (1 - unknown) + unknown / (targets.shape[1] if is_one else 2)

    def loss(scale: float) -> float:
        logits = scale * scores
        if is_one:
            rows = F.cross_entropy(logits, targets, reduction="none")
        else:
            loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            rows = loss.sum(dim=1)
        return float(rows.sum() if weights is None else rows @ weights)

    return min(SCALES.tolist(), key=loss)
