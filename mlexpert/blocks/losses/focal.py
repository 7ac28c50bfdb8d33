"""Focal loss: rows that are classified well count less, whatever their class.

Paper: Lin et al. 2017, arXiv:1708.02002, equations 4 and 5.
Differs from the paper: over K classes by softmax, where the paper has one sigmoid a class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlexpert.errors import InputError

SMALLEST = 1e-7
"""1 - p is held above it: at 0 its power below 1 has no finite slope."""


def focal_loss(
    logits: Tensor, targets: Tensor, *, gamma: float = 2.0, class_weight: Tensor | None = None
) -> Tensor:
    """Return -w_y (1 - p_y)^gamma log p_y of every example.

    The probability is the softmax's own: a class weight stands before the loss, not inside p.

    Args:
        logits: (B, K), or (B, M, K) for M members, whose losses are averaged. Computed in float32
            whatever their type.
        targets: (B,) class indices, or (B, K) shares of the classes, by which the K terms are
            summed.
        gamma: Strength, 0 or more; 0 is cross-entropy.
        class_weight: (K,) factor on the term of each class (alpha in the paper), on the device of
            the logits. None changes nothing.

    Returns:
        (B,) losses, in nats where gamma is 0.

    Example:
        >>> focal_loss(torch.zeros(1, 2), torch.tensor([0]), gamma=2.0) / math.log(2)
        tensor([0.2500])
    """
    log_p = logits.float().log_softmax(dim=-1)
    terms = -log_p * torch.expm1(log_p).neg().clamp_min(SMALLEST).pow(gamma)
    if class_weight is not None:
        terms = terms * class_weight
    if terms.ndim == 3:
        terms = terms.mean(dim=1)
    if targets.ndim == 2:
        return (terms * targets).sum(dim=1)
    return terms.gather(1, targets.unsqueeze(1)).squeeze(1)


class Focal(nn.Module):
    """`focal_loss` with weights of the classes, which follow it to its device.

    Args:
        gamma: Strength, 0 or more.
        class_weight: (K,) weights, 0 or more; None for none. Their mean over the training rows
            should be 1, so that losses keep their scale.

    Raises:
        InputError: If `gamma` or a weight is negative or not finite.
    """

    class_weight: Tensor | None

    def __init__(self, *, gamma: float = 2.0, class_weight: Tensor | None = None) -> None:
        super().__init__()
        if not 0 <= gamma < math.inf:
            raise InputError(f"gamma={gamma!r}; it has to be a number of 0 or more.")
        if class_weight is not None and not ((class_weight >= 0) & class_weight.isfinite()).all():
            raise InputError(
                f"class weights {class_weight.tolist()}; they have to be numbers of 0 or more."
            )
        self.gamma = gamma
        self.register_buffer("class_weight", None if class_weight is None else class_weight.float())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (B,) of logits (B, K) or (B, M, K)."""
        return focal_loss(logits, targets, gamma=self.gamma, class_weight=self.class_weight)
