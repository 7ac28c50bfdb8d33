"""Measure what a new user meets first: how long things take to start, and the packaged demo.

    python benchmarks/first_steps/run.py            # three seeds of the demo, a few minutes
    python benchmarks/first_steps/run.py --smoke    # one epoch, to see that it works

`results.json` keeps every figure, `results.md` is made from it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = {
    "import mlexpert": [sys.executable, "-c", "import mlexpert"],
    "mlexpert list": [sys.executable, "-m", "mlexpert", "list"],
}
SCORES = ("balanced_accuracy", "argmax_balanced_accuracy", "macro_f1", "pr_auc", "brier")


def cpu_seconds(command: list[str]) -> float:
    """Return the user and system time of one whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_start(runs: int) -> dict[str, float]:
    """Return the median CPU seconds of each command, after one run that is not counted."""
    return {
        name: round(statistics.median([cpu_seconds(command) for _ in range(runs + 1)][1:]), 3)
        for name, command in COMMANDS.items()
    }


def measure_demo(seed: int, fields: dict[str, int]) -> dict[str, float]:
    """Train on the packaged images, open their test split, and return seconds and scores."""
    from mlexpert.recipes import get

    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        fitted = get("imbalanced-cls", seed=seed, **fields).fit(
            "demo", run_dir=folder, progress=False
        )
        seconds = time.process_time() - started
        scores = fitted.final_test(reason="benchmark of the demo")
        return {
            "seed": seed,
            "train_seconds": round(fitted.facts["seconds"]["train"], 1),
            "cpu_seconds": round(seconds, 1),
            **{name: round(scores[name], 4) for name in SCORES},
        }


def write_page(results: dict, page: Path) -> None:
    """Write the page from the figures alone."""
    machine, versions = results["environment"], results["packages"]
    lines = [
        "# First steps",
        "",
        f"Measured {results['date']} at commit {results['commit']}; {machine['cpu']}, "
        f"{machine['threads']} threads; Python {machine['python']}, torch {versions['torch']}, "
        f"mlexpert {versions['mlexpert']}.",
        "",
        "| start-up | CPU s (median of whole processes) |",
        "| --- | --- |",
        *(f"| `{name}` | {value:.3f} |" for name, value in results["start"].items()),
        "",
        "The demo is long-tailed Fashion-MNIST (imbalance 100, 4,964 images); the scores are those",
        "of its balanced test split of 2,000.",
        "",
        "| seed | training s | CPU s | adjusted | argmax | gain | macro-F1 | PR-AUC | Brier |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["demo"]:
        adjusted, plain = row["balanced_accuracy"], row["argmax_balanced_accuracy"]
        lines.append(
            f"| {row['seed']} | {row['train_seconds']} | {row['cpu_seconds']} | {adjusted:.4f} "
            f"| {plain:.4f} | {adjusted - plain:+.4f} | {row['macro_f1']:.4f} "
            f"| {row['pr_auc']:.4f} | {row['brier']:.4f} |"
        )
    lines += ["", "Adjusted and argmax are balanced accuracies of one and the same model."]
    page.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    smoke = parser.parse_args().smoke
    from mlexpert.environment import environment, packages

    with tempfile.TemporaryDirectory() as home:
        os.environ["MLEXPERT_HOME"] = home
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
        ).stdout.strip()
        fields = {"epochs": 1} if smoke else {}
        results = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": commit or "unknown",
            "environment": environment(),
            "packages": packages(),
            "start": measure_start(1 if smoke else 9),
            "demo": [measure_demo(seed, fields) for seed in range(1 if smoke else 3)],
        }
        folder = Path(home) if smoke else HERE
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        write_page(results, folder / "results.md")
        print((folder / "results.md").read_text())


if __name__ == "__main__":
    main()
