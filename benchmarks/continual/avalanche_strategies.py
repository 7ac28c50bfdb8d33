"""Avalanche's strategies on the same tensors, and on its own SplitMNIST.

`python run.py --setup` installs Avalanche in a folder of this benchmark's own, beside the torch
that is there: its requirements are not ours. What it imports and nothing here uses (trackers,
downloads, a solver of GEM) is an empty module. Nothing is logged or evaluated while it trains.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from borrowed import Rows
from loops import BATCH, CAPACITY, Tasks, optimizer_of
from torch import nn
from torch.utils.data import TensorDataset

FOLDER = Path(__file__).parent / ".cache" / "avalanche"
PACKAGES = ("avalanche-lib==0.6.0", "pytorchcv==0.0.74")
UNUSED = ("gdown", "wandb", "qpsolvers", "GPUtil")
STRATEGIES = {
    "Avalanche, Naive": ("Naive", {}),
    "Avalanche, Replay": ("Replay", {"mem_size": CAPACITY}),
    "Avalanche, DER": ("DER", {"mem_size": CAPACITY, "alpha": 0.5, "beta": 0.5}),
    "Avalanche, EWC": ("EWC", {"ewc_lambda": 100.0}),
}
"""By name: the class and its arguments. A beta makes it DER++; lambda goes with Avalanche's Fisher,
which squares the mean gradient of a batch."""


def is_installed() -> bool:
    """Return whether `install` was run."""
    return (FOLDER / "avalanche").is_dir()


def install() -> None:
    """Install Avalanche beside nothing but what it imports and this environment lacks."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(FOLDER), *PACKAGES], check=True)


def load() -> Any:
    """Import Avalanche and return its module of supervised strategies."""
    sys.path.append(str(FOLDER))
    for name in UNUSED:
        sys.modules.setdefault(name, ModuleType(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from avalanche.training import supervised
    return supervised


def strategy_of(name: str, model: nn.Module, epochs: int) -> Any:
    """Return an Avalanche strategy that trains `model`."""
    supervised = load()
    from avalanche.training.plugins import EvaluationPlugin

    kind, arguments = STRATEGIES[name]
    return getattr(supervised, kind)(
        model=model,
        optimizer=optimizer_of(model),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=epochs,
        evaluator=EvaluationPlugin(),
        **arguments,
    )


def stream_of(tasks: Tasks) -> list[Any]:
    """Return the experiences of a stream of tensors, in the order of the tasks."""
    load()
    from avalanche.benchmarks import nc_benchmark

    rows = TensorDataset(torch.cat([x for x, _ in tasks]), torch.cat([y for _, y in tasks]))
    rows.targets = rows.tensors[1].tolist()
    order = [int(label) for _, y in tasks for label in y.unique()]
    made = nc_benchmark(rows, rows, len(tasks), task_labels=False, fixed_class_order=order)
    return list(made.train_stream)


def stock_stream(rows: Rows, folder: Path) -> list[Any]:
    """Return the experiences of Avalanche's own SplitMNIST, which reads MNIST's files."""
    load()
    from avalanche.benchmarks import SplitMNIST

    write_idx(rows, folder / "MNIST" / "raw")
    return list(SplitMNIST(5, fixed_class_order=list(range(10)), dataset_root=folder).train_stream)


def write_idx(rows: Rows, folder: Path) -> None:
    """Write images and labels as MNIST's files are, as train and as test."""
    folder.mkdir(parents=True)
    pixels, targets = np.asarray(rows.inputs, np.uint8), np.asarray(rows.targets, np.uint8)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", pixels), ("labels-idx1", targets)):
            head = struct.pack(f">{array.ndim + 1}i", 0x0800 + array.ndim, *array.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
