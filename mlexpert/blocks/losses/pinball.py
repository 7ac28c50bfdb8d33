"""The pinball loss, which the quantiles of a distribution minimise.

Paper: Koenker and Bassett 1978, doi:10.2307/1913643, equation 1.1.
"""

from __future__ import annotations

from torch import Tensor


def pinball(predicted: Tensor, targets: Tensor, levels: Tensor) -> Tensor:
    """Return the loss (...), the mean over the levels.

    Args:
        predicted: (..., Q) quantiles.
        targets: (...) what came.
        levels: (Q,) between 0 and 1.

    Example:
        >>> import torch
        >>> pinball(torch.tensor([[1.0]]), torch.tensor([3.0]), torch.tensor([0.9]))
        tensor([1.8000])
    """
    short = targets.unsqueeze(-1) - predicted  # above 0: the forecast was too low
    return (levels * short).maximum((levels - 1.0) * short).mean(dim=-1)
