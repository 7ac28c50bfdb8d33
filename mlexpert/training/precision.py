"""Device, processes and arithmetic of a run, through accelerate."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.errors import InputError
from mlexpert.training.processes import PATIENCE, Processes

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Engine:
    """Forward under autocast, backward and optimiser step, for one precision on one device.

    In one process without fp16 accelerate's wrappers would do nothing but cost time, so they are
    not used.

    Args:
        precision: "fp32", "bf16", "fp16", or "auto": bf16 on a GPU that has it, else undecided
            until `decide`, and fp32 meanwhile.
        sharded: Whether the processes share one model's weights, instead of each having its own.

    Raises:
        InputError: If the device lacks the precision, or there is nothing to share with.
    """

    def __init__(self, precision: str, *, sharded: bool = False) -> None:
        on_gpu = torch.cuda.is_available()
        has_bf16 = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
        decided = precision != "auto" or on_gpu
        if precision == "auto":
            precision = "bf16" if on_gpu and has_bf16 else "fp32"
        if precision == "fp16" and not on_gpu:
            raise InputError(
                "precision='fp16' needs a GPU, and none is here; use 'bf16', 'fp32' or 'auto'."
            )
        if precision == "bf16" and not has_bf16:
            raise InputError(
                f"precision='bf16' is more than {torch.cuda.get_device_name()} can do; "
                "use 'fp16', 'fp32' or 'auto'."
            )
        self.is_decided, self.precision = False, ""
        self.accelerator: Accelerator
        self.decide(precision)
        self.is_decided = decided
        self.device: torch.device = self.accelerator.device
        self.processes = Processes.here()
        if sharded and self.processes.count == 1:
            raise InputError(
                "sharded=True spreads a model over several processes, and this is the only one; "
                "start them with: torchrun --nproc-per-node 2 -m mlexpert fit ..."
            )
        if sharded and precision == "fp16":
            raise InputError("sharded=True does not go with precision='fp16'; use 'bf16'.")
        self.is_sharded = sharded

    def decide(self, precision: str) -> None:
        """Compute in this precision from here on."""
        if self.is_decided and precision == self.precision:
            return
        # The state is a process-wide singleton that refuses a second precision: it is begun anew.
        AcceleratorState._reset_state()
        self.precision, self.is_decided = precision, True
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision="no" if precision == "fp32" else precision,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
        self.scaler: torch.amp.GradScaler | None = self.accelerator.scaler

    def autocast(self) -> AbstractContextManager:
        """Return the context of the forward pass."""
        return nullcontext() if self.precision == "fp32" else self.accelerator.autocast()

    def backward(self, total: Tensor, divisor: Tensor | float) -> None:
        """Add the gradients of `total / divisor`, scaled where the precision needs it.

        The division is made on the gradient that backward starts from, not in the graph: the same
        numbers, for one operation less in each direction.
        """
        start = torch.ones_like(total) / divisor
        total.backward(self.scaler.scale(start) if self.scaler else start)

    def unscale(self, optimizer: Optimizer) -> None:
        """Make the gradients the true ones, which hooks and clipping are to see."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> bool:
        """Move, and return whether the weights moved."""
        if self.scaler is None:
            optimizer.step()
            return True
        scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        # The scale only falls when gradients overflowed, in which case the step was skipped.
        return self.scaler.get_scale() >= scale

    def place(self, module: AnyModule) -> AnyModule:
        """Return the module on this run's device."""
        return module.to(self.device)
