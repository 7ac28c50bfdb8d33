"""Difference of logits ratio: an objective that no scaling of the logits can flatten.

Cross-entropy saturates where a model is very sure, and its gradient vanishes in float32. The ratio
is the same for logits z and c z + d, so such a model cannot hide behind it.

Paper: Croce & Hein 2020, arXiv:2003.01690, equations 6 and 7.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlexpert.errors import InputError

_TINY = 1e-12
"""Least denominator: logits that are all the same have a ratio of 0, not of nan."""


def dlr(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (max other logit - target's logit) / (largest logit - third largest) of each row.

    Args:
        logits: (B, K), of at least 3 classes.
        targets: (B,) class indices.

    Returns:
        (B,): above 0 where the target is not the predicted class. An attack raises it.

    Raises:
        InputError: If there are fewer than 3 classes, for which it is undefined.
    """
    _refuse_fewer(logits, 3, "DLR")
    ordered, classes = logits.sort(dim=1, descending=True)
    # The strongest other class is the second where the target comes first.
    other = torch.where(classes[:, 0] == targets, ordered[:, 1], ordered[:, 0])
    target = logits.gather(1, targets[:, None]).squeeze(1)
    return (other - target) / (ordered[:, 0] - ordered[:, 2]).clamp_min(_TINY)


def targeted_dlr(logits: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Return (other logit - target's logit) / (largest - mean of third and fourth) of each row.

    Args:
        logits: (B, K), of at least 4 classes.
        targets: (B,) class indices, the true ones.
        others: (B,) indices of the classes that an attack wants instead.

    Returns:
        (B,): above 0 where the other class has the larger logit. An attack raises it.

    Raises:
        InputError: If there are fewer than 4 classes, for which it is undefined.
    """
    _refuse_fewer(logits, 4, "Targeted DLR")
    largest = logits.topk(4, dim=1).values
    difference = _difference(logits, targets, others)
    return difference / (largest[:, 0] - largest[:, 2:].mean(dim=1)).clamp_min(_TINY)


def targeted_margin(logits: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Return other logit - target's logit of each row (B,), for any number of classes."""
    return _difference(logits, targets, others)


def _difference(logits: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    pair = logits.gather(1, torch.stack([others, targets], dim=1))
    return pair[:, 0] - pair[:, 1]


def _refuse_fewer(logits: Tensor, classes: int, name: str) -> None:
    if logits.shape[1] < classes:
        raise InputError(
            f"{name} needs at least {classes} classes, and the model has {logits.shape[1]}; "
            "use the margin between two logits instead."
        )
