"""What the members of an ensemble say together, for each kind of target."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def mean_of_classes(logits: Tensor) -> Tensor:
    """Return the logarithm (B, K) of the mean of the members' probabilities.

    Args:
        logits: (B, M, K) for M members and K classes. Computed in float32 whatever their type.
    """
    members = F.log_softmax(logits.float(), dim=-1)
    return members.logsumexp(dim=1) - math.log(logits.shape[1])


def mean_of_labels(logits: Tensor) -> Tensor:
    """Return the logits (B, K) of the mean of the members' probabilities, label by label.

    Args:
        logits: (B, M, K) for M members and K labels, each of which holds or not.
    """
    holds, fails = F.logsigmoid(logits.float()), F.logsigmoid(-logits.float())
    return holds.logsumexp(dim=1) - fails.logsumexp(dim=1)


def mean_of_values(outputs: Tensor) -> Tensor:
    """Return the mean (B, K) of the members' numbers (B, M, K)."""
    return outputs.float().mean(dim=1)
