"""What the members of an ensemble say together, for each kind of target."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_of_classes(logits: Tensor) -> Tensor:
    """Return the logarithm (B, K) of the mean of the members' probabilities.

    Args:
        logits: (B, M, K) for M members and K classes. Computed in float32, or in their own type
            where that is wider.
    """
    members = F.log_softmax(_wide(logits), dim=-1)
    return members.logsumexp(dim=1) - math.log(logits.shape[1])


def mean_of_labels(logits: Tensor) -> Tensor:
    """Return the logits (B, K) of the mean of the members' probabilities, label by label.

    Args:
        logits: (B, M, K) for M members and K labels, each of which holds or not.
    """
    holds, fails = F.logsigmoid(_wide(logits)), F.logsigmoid(-_wide(logits))
    return holds.logsumexp(dim=1) - fails.logsumexp(dim=1)


def mean_of_values(outputs: Tensor) -> Tensor:
    """Return the mean (B, K) of the members' numbers (B, M, K)."""
    return _wide(outputs).mean(dim=1)


def _wide(outputs: Tensor) -> Tensor:
    return outputs if outputs.dtype == torch.float64 else outputs.float()
