"""What an attacker raises, and how it is told that he has won."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of logits (B, K) and classes (B,), in nats."""
    return F.cross_entropy(logits, targets, reduction="none")


def margin(logits: Tensor, targets: Tensor) -> Tensor:
    """Return by how much (B,) the best other class is ahead of the true one.

    Above 0 the decision is wrong; at a tie it is not. Carlini and Wagner 2017, arXiv:1608.04644,
    f_6 with its sign changed.
    """
    true = logits.gather(1, targets[:, None]).squeeze(1)
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return others.amax(dim=1) - true


def is_broken(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (B,) whether another class is ahead of the true one, or a logit is not a number."""
    return ~(margin(logits, targets) <= 0)
