"""Kill training with SIGKILL at random moments, fit again, and compare the weights bit for bit.

    python benchmarks/resume/run.py            # 50 moments, some minutes
    python benchmarks/resume/run.py --smoke    # 2 moments, to see that it works

Nine moments of ten are drawn from the time between the first checkpoint and the end: epochs, cut
into micro-batches, checkpoints being written, evaluations, the model being saved. The tenth is
drawn from all that comes before. `results.json` keeps every moment, `results.md` is made from it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
FIELDS = {
    "image": {"epochs": 12, "batch_size": 32, "microbatch": 12, "shift": 1},
    "text": {"epochs": 8, "batch_size": 32, "microbatch": "auto"},
    "tabular": {"epochs": 30, "batch_size": 32, "microbatch": 20, "ema": 0.9, "patience": 0},
}
"""Networks with BatchNorm and random crops, with dropout, and with an average of the weights."""


def rows(kind: str, count: int = 240):
    """Return `count` labelled rows of a kind, always the same."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    if kind == "image":
        images = rng.integers(0, 120, (count, 12, 12, 1), dtype=np.uint8)
        images[np.arange(count), labels * 4] += 100
        return images, labels
    if kind == "text":
        words = np.array(["red", "green", "blue", "one", "two", "three", "four", "five"])
        texts = [" ".join([words[k], *rng.choice(words[3:], rng.integers(2, 12))]) for k in labels]
        return pd.DataFrame({"text": texts, "label": labels})
    table = pd.DataFrame(rng.normal(size=(count, 4)), columns=list("abcd"))
    table["a"] += labels
    return table.assign(label=labels)


def fit(kind: str, folder: str, home: str) -> None:
    """Train as a user would, except that checkpoints are as frequent as they may be."""
    os.environ["MLEXPERT_HOME"] = home
    import torch

    from mlexpert.recipes import get
    from mlexpert.training import checkpoint_clock

    torch.set_num_threads(1)
    checkpoint_clock.CHECKPOINT_EVERY = 0.0
    get("imbalanced-cls", precision="fp32", **FIELDS[kind]).fit(
        rows(kind), run_dir=folder, progress=False
    )


def kill_and_go_on(
    kind: str, whole: Path, moment: float, scratch: Path, *, in_training: bool
) -> dict:
    """Kill one run at a moment, let another go on with it, and compare with `whole`.

    Args:
        kind: Of input.
        whole: The run folder of a run that nobody killed.
        moment: Seconds after the start, or after the first checkpoint.
        scratch: Where the run folder is made.
        in_training: Whether to count from the first checkpoint.
    """
    folder = scratch / f"{kind}-{moment:.6f}"
    process = _start(kind, folder)
    if in_training:
        _await_checkpoint(process, folder)
    process.join(timeout=moment)
    was_running = process.is_alive()
    process.kill()
    process.join()
    left = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    again = _start(kind, folder)
    again.join()
    assert again.exitcode == 0, f"{kind} killed at {moment:.3f} s did not go on"
    return {
        "kind": kind,
        "moment": round(moment, 3),
        "in_training": in_training,
        "was_running": was_running,
        "went_on_from": left[-1] if left else None,
        "equal": _weights(folder) == _weights(whole),
    }


def measure(points: int) -> list[dict]:
    """Return one row for each of so many random moments, spread over the kinds of input."""
    draw = random.Random(0)
    results = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        before, training = {}, {}
        for kind in [next(iter(FIELDS)), *FIELDS]:  # the first one also starts the fork server
            shutil.rmtree(scratch / kind, ignore_errors=True)
            started = time.perf_counter()
            process = _start(kind, scratch / kind)
            _await_checkpoint(process, scratch / kind)
            begun = time.perf_counter()
            process.join()
            assert process.exitcode == 0, f"{kind} could not be trained"
            before[kind], training[kind] = begun - started, time.perf_counter() - begun
        for number in range(points):
            kind, late = list(FIELDS)[number % len(FIELDS)], number % 10 != 9
            moment = draw.uniform(0.0, (training if late else before)[kind])
            results.append(kill_and_go_on(kind, scratch / kind, moment, scratch, in_training=late))
    return results


def _start(kind: str, folder: Path):
    # A fork server loads the libraries once, and every process begins where it stands.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlexpert.fitting.fit", "mlexpert.recipes.imbalanced_cls"])
    process = context.Process(target=fit, args=(kind, str(folder), str(folder.parent / "home")))
    process.start()
    return process


def _await_checkpoint(process, folder: Path) -> None:
    while process.is_alive() and not any((folder / "checkpoints").glob("step-*")):
        time.sleep(0.002)


def _weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


def write_page(results: dict, page: Path) -> None:
    """Write the page from the figures alone."""
    machine, versions, moments = results["environment"], results["packages"], results["moments"]
    lines = [
        "# Exact resumption",
        "",
        f"Measured {results['date']} at commit {results['commit']}; {machine['cpu']}, one thread; "
        f"Python {machine['python']}, torch {versions['torch']}, mlexpert {versions['mlexpert']}.",
        "",
        "`recipe.fit` is killed with SIGKILL at a random moment and called again with the same",
        "run folder; the weights it ends with are compared with those of a run that nobody killed.",
        "",
        "| input | moments | killed in time | went on from a checkpoint | equal bit for bit |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in FIELDS:
        of_kind = [row for row in moments if row["kind"] == kind]
        counts = [
            sum(map(bool, (row[key] for row in of_kind)))
            for key in ("was_running", "went_on_from", "equal")
        ]
        lines.append(f"| {kind} | {len(of_kind)} | {counts[0]} | {counts[1]} | {counts[2]} |")
    equal = sum(row["equal"] for row in moments)
    lines += ["", f"**{equal} of {len(moments)} are equal.**"]
    page.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    smoke = parser.parse_args().smoke
    from mlexpert.environment import environment, packages

    os.environ["OMP_NUM_THREADS"] = "1"
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    results = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit or "unknown",
        "environment": environment(),
        "packages": packages(),
        "moments": measure(2 if smoke else 50),
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if smoke else HERE
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        write_page(results, folder / "results.md")
        print((folder / "results.md").read_text())
    if not all(row["equal"] for row in results["moments"]):
        raise SystemExit("Some runs did not end where they would have without the kill.")


if __name__ == "__main__":
    main()
