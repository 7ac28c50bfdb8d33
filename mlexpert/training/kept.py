"""The weights that a task leaves behind: those of one of its epochs."""

from __future__ import annotations

from torch import Tensor, nn

from mlexpert.training.sharding import like


class KeptWeights:
    """A second copy of a model's weights and buffers, or nothing yet.

    Args:
        model: In place on its device.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.values: dict[str, Tensor] = {}

    def take(self) -> None:
        """Keep the present weights, in the place of those before."""
        state = self.model.state_dict()
        if not self.values:
            self.values = {name: value.clone() for name, value in state.items()}
            return
        for name, value in state.items():
            self.values[name].copy_(value)

    def put_back(self) -> None:
        """Give the model the weights that were kept, and let go of them."""
        self.model.load_state_dict(self.values)
        self.values = {}

    def restore(self, values: dict[str, Tensor]) -> None:
        """Go on with whole tensors from a checkpoint."""
        there = self.model.state_dict()
        self.values = {
            name: like(value.to(there[name].device, copy=True), there[name])
            for name, value in sorted(values.items())
        }
