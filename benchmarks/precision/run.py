"""Measure fp32 beside bf16 on a CPU: seconds of a step, what `auto` decides, and whole trainings.

    python benchmarks/precision/run.py            # everything; goes on where it was stopped
    python benchmarks/precision/run.py --fresh    # measures everything again, about an hour
    python benchmarks/precision/run.py --smoke    # seconds, to see that it works

`results.json` keeps every figure; `results.md` and `curves.svg` are made from it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

# Before torch starts its threads: those of a busy machine wait for one another, and that is timed.
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from networks import CASES, Case
from page import draw_curves, write_page
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from trainings import PRECISIONS, TASKS, train

from mlexpert.environment import environment, packages
from mlexpert.training.arithmetic import choose_arithmetic
from mlexpert.training.method import Batch
from mlexpert.training.methods.cross_entropy import CrossEntropy

HERE = Path(__file__).parent
METHOD = CrossEntropy(shift=0, flip=False)
SEEDS = range(2)


def batch_of(case: Case) -> Batch:
    torch.manual_seed(0)
    rows = case.shape[0]
    return Batch(case.inputs(), torch.randint(case.num_classes, (rows,)), torch.arange(rows))


def measure_step(case: Case, seconds: float) -> dict:
    """Return CPU milliseconds of a whole step, optimiser included, of each kind by turns."""
    batch = batch_of(case)
    kinds: dict[str, tuple[nn.Module, Optimizer, bool]] = {}
    for name in ("fp32", "fp32 channels_last", "bf16", "bf16 channels_last"):
        if "channels_last" in name and batch.inputs.ndim != 4:
            continue
        torch.manual_seed(0)
        model = case.build().train()
        if "channels_last" in name:
            model = model.to(memory_format=torch.channels_last)
        is_image = batch.inputs.ndim == 4
        make = SGD(model.parameters(), 0.01, 0.9) if is_image else AdamW(model.parameters(), 1e-3)
        kinds[name] = model, make, name.startswith("bf16")
    times: dict[str, list[float]] = {name: [] for name in kinds}
    until = time.process_time() + seconds
    while time.process_time() < until or len(times["fp32"]) < 3:
        for name, (model, optimizer, in_bf16) in kinds.items():
            started = time.process_time()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                loss = METHOD.loss(model, batch)
            (loss.total / loss.count).backward()
            optimizer.step()
            times[name].append(time.process_time() - started)
    return {
        "network": case.name,
        "batch": case.shape[0],
        "steps": len(times["fp32"]) - 1,
        "cpu_ms": {k: round(1e3 * statistics.median(v[1:]), 2) for k, v in times.items()},
    }


def decide(case: Case) -> dict:
    """Return what `auto` decides for a network, and the CPU seconds that it takes to decide."""
    batch = batch_of(case)
    model = case.build().train()
    with tempfile.TemporaryDirectory() as home:
        started = time.process_time()
        choice = choose_arithmetic(
            model, METHOD, batch, precision="auto", channels_last="auto", home=Path(home)
        )
        seconds = time.process_time() - started
    return {
        "network": case.name,
        "batch": case.shape[0],
        "cpu_seconds": round(seconds, 2),
        **choice.record(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    options = parser.parse_args()
    smoke = options.smoke
    data = Path(os.environ.get("MLEXPERT_DATA", "../shared/data"))
    if not smoke and not data.is_dir():
        raise SystemExit(f"{data} is no folder; set MLEXPERT_DATA to where the real data lies")
    warnings.simplefilter("ignore")
    os.environ["MLEXPERT_HOME"] = tempfile.mkdtemp()
    folder = Path(tempfile.mkdtemp()) if smoke else HERE
    file = folder / "results.json"
    results = {} if options.fresh or not file.exists() else json.loads(file.read_text())
    results = facts() | {"steps": [], "decisions": [], "trainings": []} | results

    def keep(section: str, row: dict) -> None:
        results[section].append(row)
        file.write_text(json.dumps(results, indent=1) + "\n")

    cases = CASES[:1] if smoke else CASES
    for number, case in enumerate(cases):
        if number >= len(results["decisions"]):
            keep("decisions", decide(case))
        if number >= len(results["steps"]):
            keep("steps", measure_step(case, 0.2 if smoke else 6.0))
    done = {(row["task"], row["precision"], row["seed"]) for row in results["trainings"]}
    for seed in SEEDS[:1] if smoke else SEEDS:
        for task in list(TASKS)[:1] if smoke else TASKS:
            for precision in PRECISIONS:
                if (task, precision, seed) not in done:
                    fields = {"epochs": 1} if smoke else {}
                    keep("trainings", train(task, precision, seed, data, fields))
    write_page(results, folder / "results.md")
    draw_curves(results, folder / "curves.svg")
    print((folder / "results.md").read_text() if smoke else f"Wrote {folder / 'results.md'}")


def facts() -> dict:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit or "unknown",
        "environment": environment(),
        "packages": packages(),
    }


if __name__ == "__main__":
    main()
