"""Cross-entropy of logits that the training prior is added to: rare classes need a larger margin.

The network then learns the logits of balanced classes, and its plain argmax minimises the balanced
error.

Papers: Menon et al. 2021, arXiv:2007.07314, equation 10; Ren et al. 2020, arXiv:2007.10740,
equation 3 (balanced softmax), which is tau = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.losses.effective_number import counted
from mlexpert.errors import InputError


class LogitAdjusted(nn.Module):
    """Cross-entropy of `logits + tau * log prior`.

    Args:
        class_counts: (K,) training rows of each class as they count in training, all above 0.
        tau: Strength of the adjustment; 0 is plain cross-entropy.

    Attributes:
        log_weight: (K,) logarithm of what the model's own softmax has beside the natural prior,
            -tau * log prior.

    Raises:
        InputError: If a class has no training rows, or `tau` is negative or not finite.

    Example:
        >>> import torch
        >>> loss = LogitAdjusted([90, 10])
        >>> loss(torch.zeros(2, 2), torch.tensor([0, 1])).neg().exp()
        tensor([0.9000, 0.1000])
    """

    log_weight: Tensor

    def __init__(self, class_counts: Sequence[float], *, tau: float = 1.0) -> None:
        super().__init__()
        if not 0 <= tau < math.inf:
            raise InputError(f"tau={tau!r}; it has to be a number of 0 or more.")
        counts = counted(class_counts)
        log_prior = (counts / counts.sum()).log()
        self.register_buffer("log_weight", (-tau * log_prior).float())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (B,), in nats, of logits (B, K) or (B, M, K).

        Args:
            logits: Of one model or of M members. Computed in float32 whatever their type.
            targets: (B,) class indices, or (B, K) shares of the classes.
        """
        return cross_entropy(logits.float() - self.log_weight, targets)
