"""Train under a limit on memory that is set after everything is loaded: `limited.py FOLDER MIB`."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch
from torch import nn

from mlexpert.blocks.schedules import constant
from mlexpert.data.batches import TensorStore
from mlexpert.training.method import Task
from mlexpert.training.plan import Data, Plan, Stage, Stretch
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer
from tests.training.test_trainer import Plain, scores

ROWS = 5000


def rows(count: int, seed: int) -> Data:
    inputs = torch.randn(count, 256, generator=torch.Generator().manual_seed(seed))
    return Data(TensorStore(inputs), (inputs[:, 0] > 0).long())


def net() -> nn.Module:
    torch.manual_seed(0)
    wide = [layer for _ in range(4) for layer in (nn.Linear(1024, 1024), nn.ReLU())]
    return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), *wide, nn.Linear(1024, 2))


def limit(mib: int) -> None:
    """Allow this process so many MiB of data more than it has."""
    used = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmData")
    )
    resource.setrlimit(resource.RLIMIT_DATA, (used + mib * 2**20,) * 2)


def main() -> None:
    folder, mib = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    train, validation, model = rows(ROWS, 0), rows(100, 1), net()
    stage = Stage(1, torch.optim.AdamW(model.parameters(), lr=1e-3), constant())
    stream = [Stretch(Task(0, torch.tensor([2500, 2500])), train, validation, scores, stage)]
    plan = Plan(seed=0, batch_size=ROWS // 2, microbatch="auto", show_progress=False)
    trainer = Trainer(model, Plain(), stream, plan, Engine("fp32"), RunFolder(folder, {}))
    if mib:
        limit(mib)
    trainer.run()
    (folder / "facts.json").write_text(json.dumps({"size": trainer.step.cut.size}))


if __name__ == "__main__":
    main()
