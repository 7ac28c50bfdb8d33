"""A tensor for every parameter of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PerParameter(nn.Module):
    """Zeros for every parameter that a model trains, as buffers.

    Args:
        model: Its parameters that require a gradient have a tensor of their shape each, under
            their names.
        persistent: Whether they are state, and so in every checkpoint.

    Example:
        >>> zeros = PerParameter(nn.Sequential(nn.Linear(2, 3)))
        >>> zeros["0.weight"].shape
        torch.Size([3, 2])
    """

    def __init__(self, model: nn.Module, *, persistent: bool = True) -> None:
        super().__init__()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                zeros = torch.zeros_like(parameter)
                self.register_buffer(_key(name), zeros, persistent=persistent)

    def __getitem__(self, name: str) -> Tensor:
        """Return the tensor of the parameter of this name."""
        return getattr(self, _key(name))


def _key(name: str) -> str:
    return name.replace(".", "/")  # a buffer's own name has no dots
