"""What an engineer would write by hand: plain fine-tuning and replay, on tensors in memory.

The reservoir is filled a batch at a time, and the t-th task has 1/t of the loss, as in van de Ven
et al. 2022. All outputs take part in the loss, also those of digits that are still to come.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCH, LR, CAPACITY = 128, 1e-3, 1000
Tasks = list[tuple[Tensor, Tensor]]
"""Inputs (N, 784) in [0, 1] and targets (N,) of each task."""


def mlp(seed: int, num_classes: int = 10) -> nn.Sequential:
    """Return the network of everyone here: 784-400-400 and a linear head."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 400),
        nn.ReLU(),
        nn.Linear(400, 400),
        nn.ReLU(),
        nn.Linear(400, num_classes),
    )


def optimizer_of(model: nn.Module) -> torch.optim.Adam:
    """Return Adam as it comes; it is never reset."""
    return torch.optim.Adam(model.parameters(), lr=LR)


def naive(model: nn.Module, tasks: Tasks, epochs: int) -> None:
    """Train on a task after the other."""
    optimizer = optimizer_of(model)
    for inputs, targets in tasks:
        for _ in range(epochs):
            for index in torch.randperm(len(inputs)).split(BATCH):
                loss = cross_entropy(model(inputs[index]), targets[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def replay(model: nn.Module, tasks: Tasks, epochs: int) -> None:
    """Train on a task after the other and, from the second on, on as many rows of a reservoir."""
    optimizer = optimizer_of(model)
    kept_inputs, kept_targets = torch.empty(CAPACITY, 784), torch.empty(CAPACITY, dtype=torch.long)
    seen = 0
    for number, (inputs, targets) in enumerate(tasks, 1):
        for _ in range(epochs):
            for index in torch.randperm(len(inputs)).split(BATCH):
                x, y = inputs[index], targets[index]
                if number == 1:
                    loss = cross_entropy(model(x), y)
                else:
                    some = torch.randperm(min(seen, CAPACITY))[:BATCH]
                    now, then = model(torch.cat([x, kept_inputs[some]])).split([len(x), len(some)])
                    old = cross_entropy(then, kept_targets[some])
                    loss = cross_entropy(now, y) / number + (1 - 1 / number) * old
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                met = torch.arange(seen, seen + len(x))
                slots = torch.where(met < CAPACITY, met, (torch.rand(len(x)) * (met + 1)).long())
                kept = slots < CAPACITY
                kept_inputs[slots[kept]], kept_targets[slots[kept]] = x[kept], y[kept]
                seen += len(x)


LOOPS = {"plain loop, naive": naive, "plain loop, er": replay}
