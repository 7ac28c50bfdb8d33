"""How far an attacker moves what a model says: the divergence that TRADES and MART lower."""

from __future__ import annotations

import torch
from torch import Tensor


def log_probabilities_of(logits: Tensor) -> Tensor:
    """Return the logarithm of the softmax over the last dimension, in float32 or wider."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.log_softmax(wide, dim=-1)


def attacked_divergence(clean_log_p: Tensor, logits: Tensor) -> Tensor:
    """Return the divergence (B,) of what is said of attacked inputs from what is of clean ones.

    Paper: Zhang et al. 2019, arXiv:1901.08573, equation 5, with the divergence of the authors'
    code.

    Args:
        clean_log_p: (B, K), or (B, M, K) of M members, logarithms of the clean inputs' p.
        logits: Of the attacked inputs, in the same shape.

    Returns:
        KL(p || q) in nats, in float32 or wider; of members the mean.

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.5, 0.5]])
        >>> attacked_divergence(p.log(), torch.tensor([[0.0, 0.0]]))
        tensor([0.])
    """
    divergence = (clean_log_p.exp() * (clean_log_p - log_probabilities_of(logits))).sum(dim=-1)
    return divergence if divergence.ndim == 1 else divergence.mean(dim=1)
