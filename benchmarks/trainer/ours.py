"""The one place that calls mlexpert's trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from problems import SEED, Problem
from torch import Tensor, nn

from mlexpert.blocks.schedules import constant
from mlexpert.data.batches import TensorStore
from mlexpert.training.method import Batch, Loss, Method, Task
from mlexpert.training.plan import Data, Plan, Stage, Stretch
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer

VALIDATION_ROWS = 2
"""So few that validation, which the rivals are spared, hardly counts."""


class Plain(Method):
    """Cross-entropy, as one writes it for a single network."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the summed cross-entropy."""
        total = nn.functional.cross_entropy(model(batch.inputs), batch.targets, reduction="sum")
        return Loss(total, len(batch))


class Recording(Plain):
    """Keeps every loss, to be compared with another loop's."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss of `Plain`, and keep its mean."""
        loss = super().loss(model, batch)
        self.losses.append((loss.total.detach() / loss.count).item())
        return loss


def log_loss(logits: Tensor, targets: Tensor, weights: Tensor | None) -> dict[str, float]:
    return {"log_loss": nn.functional.cross_entropy(logits, targets).item()}


def prepare(problem: Problem, folder: Path, method: Method | None = None) -> Callable[[], object]:
    """Return the training as a function, with the progress bar and the run folder of real use."""
    model = problem.model()
    optimizer = problem.optimizer(model.parameters(), lr=problem.lr)
    stage = Stage(problem.epochs, optimizer, constant())
    task = Task(0, torch.bincount(problem.targets))
    train = Data(TensorStore(problem.inputs), problem.targets)
    few = slice(VALIDATION_ROWS)
    validation = Data(TensorStore(problem.inputs[few]), problem.targets[few])
    trainer = Trainer(
        model,
        method or Plain(),
        [Stretch(task, train, validation, log_loss, stage)],
        Plan(seed=SEED, batch_size=problem.batch_size),
        Engine("fp32"),
        RunFolder(folder / "run", {}, fresh=True),
    )
    return trainer.run
