"""Cross-entropy per example, for one model or for the members of an ensemble."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy of every example.

    The members of an ensemble are trained as so many models: their losses are averaged, not their
    predictions.

    Args:
        logits: (B, K), or (B, M, K) for M members. Computed in float32 whatever their type.
        targets: (B,) class indices, or (B, K) shares of the classes.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
        class_weight: (K,) factor on the term of each class, on the device of the logits. None
            changes nothing.

    Returns:
        (B,) losses in nats.

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2])).exp()
        tensor([4.])
    """
    num_members = logits.shape[1] if logits.ndim == 3 else 1
    if num_members > 1:
        targets = targets.repeat_interleave(num_members, dim=0)
    losses = F.cross_entropy(
        logits.float().flatten(0, -2),
        targets,
        weight=class_weight,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return losses.view(-1, num_members).mean(dim=1)


class ClassWeighted(nn.Module):
    """`cross_entropy` with weights of the classes, which follow it to its device.

    Args:
        class_weight: (K,) weights. Their mean over the training rows should be 1, so that losses
            keep their scale and are divided by a count that does not depend on which classes a
            batch happens to hold: the optimum is then p_k w_k, normalised, for any batch size.
        label_smoothing: As in `cross_entropy`.
    """

    class_weight: Tensor

    def __init__(self, class_weight: Tensor, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("class_weight", class_weight.float())
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (B,) of logits (B, K) or (B, M, K)."""
        return cross_entropy(
            logits,
            targets,
            label_smoothing=self.label_smoothing,
            class_weight=self.class_weight,
        )
