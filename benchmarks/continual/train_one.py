"""One training in a process of its own; `run.py` starts it.

    python train_one.py WHAT OUTPUT    # WHAT is JSON, OUTPUT is where its line goes

`train_...` seconds are those of all of `fit`: reading and auditing, training, recording;
`loop_...` those of the training loop, which for rivals is the same. CPU seconds are those of the
process. The test rows are looked at once, after it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from borrowed import Clock, Rows, peak_bytes
from one_process import write_lines
from ours import fit_timed, told_of
from protocol import TASKS, is_ours
from speed import SPEED, one_round, tasks_of, training
from torch import Tensor, nn

VERSIONS = ("mlexpert", "torch", "avalanche-lib")
REASON = "the continual benchmark's table"


def measured(what: dict[str, Any]) -> dict[str, Any]:
    """Train, look at the test rows once, and return the line."""
    method, seed, smoke = what["method"], what["seed"], what["smoke"]
    data = Path(what["data"])
    if what["task"] == SPEED:
        return one_round(method, seed, TASKS["fast-bar"].split(data, smoke=smoke))
    task = TASKS[what["task"]]
    split = task.split(data, smoke=smoke)
    clock = Clock()
    if is_ours(method):
        fields = task.fields_of(method, seed)
        if smoke:
            fields |= {"epochs": 1, "validation": 0.1}
        fitted, loop = fit_timed(method, fields, split.train, split.test, task.permuted)
        trained = clock.lap()
        found = {**scores(fitted), **told_of(fitted)}
    else:
        model, train = training(method, seed, split.train)
        clock.lap()
        train()
        trained = loop = clock.lap()
        found = {"accuracy": accuracy(model, split.test)}
    return {
        **{key: round(value, 5) for key, value in found.items() if np.isfinite(value)},
        **{f"train_{unit}": value for unit, value in trained.items()},
        **{f"loop_{unit}": value for unit, value in loop.items()},
        "peak_mib": round(peak_bytes() / 2**20),
        "rows": [len(split.train), len(split.test)],
    }


def scores(fitted: Any) -> dict[str, float]:
    """Return the accuracies on the sealed test rows: as is asked, and with the task told."""
    found = fitted.final_test(reason=REASON)
    return {
        "accuracy": found["average_accuracy"],
        "task_aware": found.get("task_aware_accuracy", np.nan),
    }


@torch.no_grad()
def accuracy(model: nn.Module, test: Rows) -> float:
    """Return a rival's accuracy over all ten digits, the mean over the tasks."""
    model.eval()
    found = [_share(model(pixels).argmax(dim=1) == targets) for pixels, targets in tasks_of(test)]
    return sum(found) / len(found)


def _share(right: Tensor) -> float:
    return float(right.float().mean())


if __name__ == "__main__":
    write_lines(lambda what: [measured(what)], VERSIONS)
