"""The loops that people use, each written as its own documentation writes it.

A rival is a function that builds what it needs and returns the training as a function. Only that
function is timed; what only one rival imports is imported inside.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from problems import SEED, Problem
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Training = Callable[[], object]

BASELINE, AGAIN, OURS = "hand-written", "hand-written, again", "mlexpert"


@dataclass(frozen=True)
class Rival:
    """How a loop is prepared, and the modules that have to be imported for it beside torch."""

    prepare: Callable[[Problem, Path], Training]
    modules: tuple[str, ...] = ()


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hand_written(
    problem: Problem, folder: Path, loss_of: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
) -> Training:
    """Rows held on the device and taken by index: nothing that could be left out."""
    model = problem.model().to(device())
    optimizer = problem.optimizer(model.parameters(), lr=problem.lr)
    inputs, targets = problem.inputs.to(device()), problem.targets.to(device())

    def train() -> None:
        model.train()
        for epoch in range(problem.epochs):
            for index in epoch_order(problem, epoch).to(device()).split(problem.batch_size):
                loss = loss_of(model(inputs[index]), targets[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train


def epoch_order(problem: Problem, epoch: int) -> Tensor:
    """Return the rows in the order in which mlexpert visits them, so that losses compare."""
    generator = torch.Generator().manual_seed(SEED * 1_000_003 + epoch)
    return torch.randperm(len(problem.targets), generator=generator)


def with_data_loader(problem: Problem, folder: Path) -> Training:
    """The loop of the PyTorch tutorials."""
    model = problem.model().to(device())
    optimizer = problem.optimizer(model.parameters(), lr=problem.lr)
    loader = _loader(problem)

    def train() -> None:
        model.train()
        for _ in range(problem.epochs):
            for inputs, targets in loader:
                loss = F.cross_entropy(model(inputs.to(device())), targets.to(device()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train


def _loader(problem: Problem) -> DataLoader:
    rows = TensorDataset(problem.inputs, problem.targets)
    return DataLoader(rows, batch_size=problem.batch_size, shuffle=True)


def with_accelerate(problem: Problem, folder: Path) -> Training:
    from accelerate import Accelerator

    accelerator = Accelerator()
    plain = problem.model()
    model, optimizer, loader = accelerator.prepare(
        plain, problem.optimizer(plain.parameters(), lr=problem.lr), _loader(problem)
    )

    def train() -> None:
        model.train()
        for _ in range(problem.epochs):
            for inputs, targets in loader:
                loss = F.cross_entropy(model(inputs), targets)
                optimizer.zero_grad()
                accelerator.backward(loss)
                optimizer.step()

    return train


class _WithLoss(nn.Module):
    """The network as Hugging Face's Trainer calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(inputs)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class _Rows(torch.utils.data.Dataset):
    """Rows with names, as Hugging Face's collator wants them."""

    def __init__(self, problem: Problem) -> None:
        self.inputs, self.targets = problem.inputs, problem.targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"inputs": self.inputs[row], "labels": self.targets[row]}


def hugging_face_trainer(problem: Problem, folder: Path) -> Training:
    """Its defaults, which clip gradients and show a bar; no reports, no saving, no evaluation."""
    from transformers import Trainer, TrainingArguments

    model = _WithLoss(problem.model())
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=problem.epochs,
        per_device_train_batch_size=problem.batch_size,
        report_to="none",
        save_strategy="no",
    )
    optimizer = problem.optimizer(model.parameters(), lr=problem.lr)
    trainer = Trainer(model, arguments, train_dataset=_Rows(problem), optimizers=(optimizer, None))

    def train() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train()

    return train


def lightning(problem: Problem, folder: Path) -> Training:
    """Its defaults: a bar, a logger, a checkpoint at every epoch's end; the loss is logged."""
    return _lightning(problem, folder, barebones=False)


def lightning_barebones(problem: Problem, folder: Path) -> Training:
    """Its own switch for measuring overhead: all of that is off."""
    return _lightning(problem, folder, barebones=True)


def _lightning(problem: Problem, folder: Path, *, barebones: bool) -> Training:
    import pytorch_lightning

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Module(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = problem.model()

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            inputs, targets = batch
            loss = F.cross_entropy(self.network(inputs), targets)
            if not barebones:
                self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return problem.optimizer(self.parameters(), lr=problem.lr)

    module, loader = Module(), _loader(problem)
    trainer = pytorch_lightning.Trainer(
        max_epochs=problem.epochs, default_root_dir=folder, barebones=barebones
    )

    def train() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, loader)

    return train


def with_skorch(problem: Problem, folder: Path) -> Training:
    """Its defaults, without the fifth of the rows that it would hold out for validation."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        problem.model(),
        criterion=nn.CrossEntropyLoss,
        optimizer=problem.optimizer,
        lr=problem.lr,
        batch_size=problem.batch_size,
        max_epochs=problem.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        device=str(device()),
    )
    inputs, targets = problem.inputs.numpy(), problem.targets.numpy()
    return lambda: net.fit(inputs, targets)


def mlexpert(problem: Problem, folder: Path) -> Training:
    from ours import prepare

    return prepare(problem, folder)


# Ours stands between two runs of the baseline: the closer in time, the better they compare.
RIVALS = {
    BASELINE: Rival(hand_written),
    OURS: Rival(mlexpert, ("ours",)),
    AGAIN: Rival(hand_written),
    "with DataLoader": Rival(with_data_loader),
    "accelerate": Rival(with_accelerate, ("accelerate",)),
    "Hugging Face Trainer": Rival(hugging_face_trainer, ("transformers.trainer",)),
    "Lightning": Rival(lightning, ("pytorch_lightning",)),
    "Lightning, barebones": Rival(lightning_barebones, ("pytorch_lightning",)),
    "skorch": Rival(with_skorch, ("skorch",)),
}
