"""A made-up but realistic record of a stream of tasks, added to a run folder of `fake_run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = [["T-shirt/top", "Trouser"], ["Pullover", "Dress"], ["Coat", "Sandal"],
           ["Shirt", "Sneaker"], ["Bag", "<b>Ankle</b> boot"]]  # fmt: skip


def add(
    run_dir: Path,
    *,
    num_tasks: int = 5,
    num_stretches: int | None = None,
    scenario: str = "class",
    joint: bool = False,
    kept: float = 0.75,
    fresh: bool = False,
    buffer_bytes: int = 812_000,
    first_task: int = 0,
    **facts: Any,
) -> Path:
    """Add a stream to a run folder, and return the folder.

    Args:
        run_dir: Folder that `fake_run.write` wrote.
        num_tasks: Tasks of the stream.
        num_stretches: Tasks that were learned; None: all.
        scenario: "class", "domain" or "task".
        joint: Whether all tasks were learned in one stretch.
        kept: Share of a task's accuracy that is left after the next one.
        fresh: Whether a fresh network was measured.
        buffer_bytes: What the method remembers.
        first_task: The task that this run learned first, if it went on from another.
        **facts: Of the stream, in `run.json`.
    """
    run = json.loads((run_dir / "run.json").read_text())
    run["stream"] = {
        "scenario": scenario,
        "num_tasks": num_tasks,
        "classes": CLASSES if num_tasks == 5 else [[str(k)] for k in range(num_tasks)],
        "order_seed": 0,
        "boundaries": True,
        "blur": 0.0,
        **({"first_task": first_task} if first_task else {}),
        **facts,
    }
    (run_dir / "run.json").write_text(json.dumps(run))
    number = 1 if joint else num_tasks if num_stretches is None else num_stretches
    rows = rows_of(num_tasks, number, scenario, joint, kept, fresh, buffer_bytes)
    rows = rows[first_task:]
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return run_dir


def rows_of(
    num_tasks: int,
    num_stretches: int,
    scenario: str,
    joint: bool,
    kept: float,
    fresh: bool,
    buffer_bytes: int,
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = []
    for after in range(-1, num_stretches):
        seen = list(range(num_tasks if joint and after == 0 else after + 1))
        age = after - np.arange(num_tasks)
        asked = np.where(age >= 0, 0.97 * kept ** np.maximum(age, 0), 0.0)
        told = np.where(age >= 0, 0.99 - 0.01 * age, 0.5) + rng.normal(0, 0.004, num_tasks)
        if joint and after == 0:
            asked, told = np.full(num_tasks, 0.96), np.full(num_tasks, 0.99)
        if scenario == "domain":
            asked = np.where(age >= 0, asked, 0.45)
        if scenario == "task":
            asked = told
        rows.append(
            {
                "split": "tasks",
                "step": 469 * (after + 1),
                "epoch": after + 1,
                "after": after,
                "class_incremental": np.clip(asked, 0, 1).round(4).tolist(),
                "task_aware": None if scenario == "domain" else told.round(4).tolist(),
                "rows": [200] * num_tasks,
                "seen": seen,
                "train_rows": 0 if after < 0 else 1200 - 50 * after,
                "seconds": 0.0 if after < 0 else 11.4 + after,
                "buffer_bytes": 0 if after < 0 else buffer_bytes,
                "fresh": 0.985 if fresh and after >= 0 else None,
            }
        )
    return rows
