"""What a training is given, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from mlexpert.data.batches import Store


@dataclass(frozen=True)
class Plan:
    """How long and in what pieces to train."""

    seed: int
    epochs: int
    batch_size: int
    microbatch: int | Literal["auto"] | None = None
    patience: int = 0
    clip_norm: float = 0.0
    ema: float = 0.0
    compile: bool = False
    channels_last: bool | Literal["auto"] = False
    monitor: str = "log_loss"
    profile: bool = False
    show_progress: bool = True


@dataclass(frozen=True)
class Data:
    """Encoded inputs, their targets (N,) or (N, K), and their weights (N,) where they have any."""

    store: Store
    targets: Tensor
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Data:
        """Return the data on `device`, where that has room for them twice over."""
        fits = device.type != "cuda" or self.store.nbytes < torch.cuda.mem_get_info(device)[0] // 2
        weights = None if self.weights is None else self.weights.to(device)
        store = self.store.to(device) if fits else self.store
        return Data(store, self.targets.to(device), weights)

    def weights_of(self, index: Tensor) -> Tensor | None:
        """Return the weights (B,) of the rows at `index`, on the device of both."""
        return None if self.weights is None else self.weights[index]


@dataclass
class Position:
    """Where training stands: all of it is in every checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    moved: int = 0
    """Optimiser steps that were not skipped; the schedule counts these."""
    loss_sum: float = 0.0
    loss_count: float = 0.0
    seconds: float = 0.0
    stale: int = 0
    done: bool = False
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
