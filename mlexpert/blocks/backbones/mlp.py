"""A multi-layer perceptron on raw pixels: the network on which continual learning is compared."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Mlp(nn.Sequential):
    """Linear layers with ReLU between them, on inputs that are flattened.

    Args:
        num_inputs: Numbers of a row, D.
        num_classes: Outputs, K.
        hidden: Features of each hidden layer; (400, 400) is the network of van de Ven et al. 2022,
            doi:10.1038/s42256-022-00568-3.

    Example:
        >>> import torch
        >>> Mlp(4, 3, hidden=(8,))(torch.zeros(2, 1, 2, 2)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, num_inputs: int, num_classes: int, *, hidden: Sequence[int] = (400, 400)
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for features in hidden:
            layers += [nn.Linear(num_inputs, features), nn.ReLU()]
            num_inputs = features
        super().__init__(*layers, nn.Linear(num_inputs, num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, ...)."""
        return super().forward(inputs)
