"""Models and a method that tests of memory share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.training.method import Batch, Loss, Method


class CrossEntropy(Method):
    """Sums the cross-entropy of a micro-batch."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        total = F.cross_entropy(model(batch.inputs), batch.targets, reduction="sum")
        return Loss(total, float(len(batch)))


def mlp(width: int = 256) -> nn.Sequential:
    return nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8 * 64, 10),
        nn.BatchNorm1d(10),
    )


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(100, 32)
        self.lstm = nn.LSTM(32, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.lstm(self.tokens(inputs))[0].mean(1))


def batch_of(inputs: Tensor) -> Batch:
    rows = len(inputs)
    return Batch(inputs, torch.arange(rows) % 10, torch.arange(rows))


def rows(count: int) -> Batch:
    return batch_of(torch.rand(count, 784))


def images(count: int) -> Batch:
    return batch_of(torch.rand(count, 3, 8, 8))


def texts(count: int, length: int = 32) -> Batch:
    return batch_of(torch.randint(1, 100, (count, length)))
