"""Device and arithmetic of a run, through accelerate."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.errors import InputError

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Engine:
    """Forward under autocast, backward and optimiser step, for one precision on one device.

    In one process without fp16 accelerate's wrappers would do nothing but cost time, so they are
    not used.
    """

    def __init__(
        self, precision: str, *, log_with: str | None = None, project_dir: str | None = None
    ) -> None:
        # The state is a process-wide singleton that refuses a second precision: it is begun anew.
        AcceleratorState._reset_state()
        on_gpu = torch.cuda.is_available()
        if precision == "auto":
            precision = (
                "bf16"
                if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
                else "fp32"
            )
        if precision == "fp16" and not on_gpu:
            raise InputError(
                "precision='fp16' needs a GPU, and none is here; use 'bf16', 'fp32' or 'auto'."
            )
        if log_with is not None and importlib.util.find_spec(log_with) is None:
            raise InputError(
                f"track={log_with!r} needs a package that is not installed: "
                f"pip install 'mlexpert[{log_with}]'."
            )
        mixed = "no" if precision == "fp32" else precision
        self.accelerator = Accelerator(
            mixed_precision=mixed, log_with=log_with, project_dir=project_dir
        )
        if self.accelerator.num_processes > 1:
            raise InputError(
                f"{self.accelerator.num_processes} processes were started; "
                "this version trains in one process."
            )
        self.precision = precision
        self.device: torch.device = self.accelerator.device
        self.scaler: torch.amp.GradScaler | None = self.accelerator.scaler

    def autocast(self) -> AbstractContextManager:
        """Return the context of the forward pass."""
        return nullcontext() if self.precision == "fp32" else self.accelerator.autocast()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, scaled where the precision needs it."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, optimizer: Optimizer, prepare: Callable[[], None]) -> bool:
        """Unscale, let `prepare` see the true gradients, and move; return whether it moved."""
        if self.scaler is None:
            prepare()
            optimizer.step()
            return True
        self.scaler.unscale_(optimizer)
        prepare()
        scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        # The scale only falls when gradients overflowed, in which case the step was skipped.
        return self.scaler.get_scale() >= scale

    def place(self, module: AnyModule) -> AnyModule:
        """Return the module on this run's device."""
        return module.to(self.device)
