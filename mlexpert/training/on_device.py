"""The rows of the task under way, on the device where they fit there."""

from __future__ import annotations

import torch

from mlexpert.training.plan import Data


class OnDevice:
    """Holds one task's rows at a time; those that the next task has too are not moved again.

    Args:
        device: Where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: dict[int, tuple[Data, Data]] = {}

    def hold(self, *given: Data) -> None:
        """Hold these, and nothing else: what is no longer needed makes room first."""
        self._held = {id(data): self._held[id(data)] for data in given if id(data) in self._held}
        for data in given:
            if id(data) not in self._held:
                self._held[id(data)] = data, data.to(self.device)

    def __getitem__(self, given: Data) -> Data:
        """Return the rows that were given, on the device where they fit."""
        return self._held[id(given)][1]

    def clear(self) -> None:
        """Hold nothing."""
        self._held = {}
