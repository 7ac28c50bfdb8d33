"""Weight decay where it belongs: on matrices and kernels, not on norms and biases."""

from __future__ import annotations

from typing import Any

from torch import nn


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two parameter groups: two dimensions and more, decayed; the rest, not decayed.

    Args:
        model: Its parameters that require a gradient are grouped.
        weight_decay: Decoupled decay of the first group.

    Returns:
        Groups as `torch.optim` takes them; an empty one is left out.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
