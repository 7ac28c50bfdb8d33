"""Putting back what a forward pass moves, so that the same examples can be run again."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rewind:
    """The random numbers and the model's buffers (BatchNorm's statistics) at the start of a step.

    Marking costs a few microseconds, so every step can afford it.

    Args:
        model: Its buffers are kept.
        device: Where it runs.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.device = device
        buffers = list(model.buffers())
        # One fused copy for each kind of number: a hundred small ones would cost far more.
        dtypes = {buffer.dtype for buffer in buffers}
        self.buffers = [[b for b in buffers if b.dtype == dtype] for dtype in dtypes]
        self.kept = [[torch.empty_like(b) for b in group] for group in self.buffers]
        self.rng: list[Tensor] = []

    @torch.no_grad()
    def mark(self) -> None:
        """Keep the present state."""
        for kept, buffers in zip(self.kept, self.buffers, strict=True):
            torch._foreach_copy_(kept, buffers)
        self.rng = [torch.get_rng_state()]
        if self.device.type == "cuda":
            self.rng.append(torch.cuda.get_rng_state(self.device))

    @torch.no_grad()
    def back(self) -> None:
        """Put the marked state back."""
        for kept, buffers in zip(self.kept, self.buffers, strict=True):
            torch._foreach_copy_(buffers, kept)
        torch.set_rng_state(self.rng[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self.rng[1], self.device)
