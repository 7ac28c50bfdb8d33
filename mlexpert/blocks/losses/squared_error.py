"""Squared error per example, for one model or for the members of an ensemble."""

from __future__ import annotations

from torch import Tensor


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of every example, the mean over members of their own errors.

    Args:
        outputs: (B, 1), or (B, M, 1) for M members. Computed in float32 whatever their type.
        targets: (B,) in the unit of the outputs: training standardises them.

    Returns:
        (B,) squared errors.

    Example:
        >>> import torch
        >>> squared_error(torch.tensor([[3.0]]), torch.tensor([1.0]))
        tensor([4.])
    """
    return (outputs.float().flatten(1) - targets.unsqueeze(1)).square().mean(dim=1)
