"""Cross-entropy per example, for one model or for the members of an ensemble."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of every example.

    The members of an ensemble are trained as so many models: their losses are averaged, not their
    predictions.

    Args:
        logits: (B, K), or (B, M, K) for M members. Computed in float32 whatever their type.
        targets: (B,) class indices.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).

    Returns:
        (B,) losses in nats.

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2])).exp()
        tensor([4.])
    """
    if logits.ndim == 2:
        return F.cross_entropy(
            logits.float(), targets, reduction="none", label_smoothing=label_smoothing
        )
    num_members = logits.shape[1]
    losses = F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.repeat_interleave(num_members),
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return losses.view(-1, num_members).mean(dim=1)
