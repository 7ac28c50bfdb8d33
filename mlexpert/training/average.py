"""An exponential moving average of the weights: evaluated and kept in place of the last step's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages a model's parameters over the steps; buffers stay the model's own.

    Early on the decay is (1 + step) / (10 + step), so that the random start is soon forgotten.

    Args:
        model: Its parameters are averaged.
        decay: Weight of the past at every step, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.num_updates = decay, 0
        self.parameters: list[Tensor] = list(model.parameters())
        # Always as it would lie in a run that goes on: another layout gives other last bits.
        layout = torch.contiguous_format
        self.average = [value.detach().clone(memory_format=layout) for value in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the step that was just made into the average."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        torch._foreach_lerp_(self.average, self.parameters, 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the averaged weights for as long as the context lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint has to keep."""
        return {
            "num_updates": torch.tensor(self.num_updates),
            **{str(index): value for index, value in enumerate(self.average)},
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state that `state` returned."""
        self.num_updates = int(state["num_updates"])
        for index, value in enumerate(self.average):
            value.copy_(state[str(index)])

    def _swap(self) -> None:
        for parameter, value in zip(self.parameters, self.average, strict=True):
            parameter.data, value.data = value.data, parameter.data
