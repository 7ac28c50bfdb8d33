"""Binary cross-entropy per example, where each of K labels holds or not."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean over labels of every example's binary cross-entropy.

    The members of an ensemble are trained as so many models: their losses are averaged.

    Args:
        logits: (B, K), or (B, M, K) for M members. Computed in float32 whatever their type.
        targets: (B, K), 1 where a label holds and 0 where it does not, or shares between.
        label_smoothing: Share of each target that becomes one half: that of `cross_entropy` for
            two classes.

    Returns:
        (B,) losses in nats.

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 1.0]])).exp()
        tensor([2.])
    """
    soft = targets.float() * (1 - label_smoothing) + label_smoothing / 2
    if logits.ndim == 3:
        soft = soft.unsqueeze(1).expand_as(logits)
    losses = F.binary_cross_entropy_with_logits(logits.float(), soft, reduction="none")
    return losses.flatten(1).mean(dim=1)
