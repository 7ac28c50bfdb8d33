"""Putting back what a forward pass moves, so that the same examples can be run again."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

LARGE = 2**20
"""Bytes up to which a buffer is kept."""


class Rewind:
    """Random numbers and buffers (BatchNorm's statistics, counts) at the start of a step.

    Marking costs a few microseconds, so every step can afford it.

    Args:
        modules: The model and the method; their buffers are kept, but for large ones, which a pass
            does not move: a replay memory, a table.
        device: Where they are.
    """

    def __init__(self, modules: Iterable[nn.Module], device: torch.device) -> None:
        self.device = device
        found = (buffer for module in modules for buffer in module.buffers())
        buffers = [buffer for buffer in found if buffer.nbytes <= LARGE]
        # One fused copy for each kind of number: a hundred small ones would cost far more.
        dtypes = {buffer.dtype for buffer in buffers}
        self.buffers = [[b for b in buffers if b.dtype == dtype] for dtype in dtypes]
        self.kept = [[torch.empty_like(b) for b in group] for group in self.buffers]
        self.rng: list[Tensor] = []

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
