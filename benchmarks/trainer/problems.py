"""The three trainings that every loop is given: a model, its optimiser, and random data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

SEED = 0
CLASSES = 10
VOCABULARY, LENGTH, WIDTH = 1000, 64, 128


@dataclass(frozen=True)
class Problem:
    """What is trained on what, and for how long. What the rows mean costs no loop anything."""

    inputs: Tensor
    targets: Tensor
    batch_size: int
    epochs: int
    lr: float
    network: Callable[[], nn.Module]
    optimizer: Callable[..., Optimizer]

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.epochs * -(-len(self.targets) // self.batch_size)

    def model(self) -> nn.Module:
        """Return the network with its first weights; dropout goes on from the same seed."""
        torch.manual_seed(SEED)
        return self.network()


class Encoder(nn.Module):
    """A transformer that reads 64 tokens and names their class."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 4)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) for tokens (B, T)."""
        return self.head(self.layers(self.tokens(inputs) + self.places).mean(dim=1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, CLASSES))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, CLASSES),
    )


SIZES = {"MLP": (20_000, 7), "CNN": (20_000, 3), "transformer": (384, 1)}
"""Rows and epochs: about two seconds of a hand-written loop on one core."""


def problem(name: str, *, rows: int | None = None, epochs: int | None = None) -> Problem:
    """Return a problem by name, of its full size where none is given."""
    usual_rows, usual_epochs = SIZES[name]
    rows, epochs = rows or usual_rows, epochs or usual_epochs
    generator = torch.Generator().manual_seed(SEED)
    targets = torch.randint(CLASSES, (rows,), generator=generator)
    if name == "transformer":
        inputs = torch.randint(VOCABULARY, (rows, LENGTH), generator=generator)
        return Problem(inputs, targets, 16, epochs, 1e-3, Encoder, torch.optim.AdamW)
    inputs = torch.rand(rows, 1, 28, 28, generator=generator)
    network = mlp if name == "MLP" else cnn
    return Problem(inputs, targets, 128, epochs, 0.05, network, torch.optim.SGD)
