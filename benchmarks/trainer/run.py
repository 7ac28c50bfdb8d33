"""Measure mlexpert's training loop beside the loops that people use.

    python benchmarks/trainer/run.py            # everything, about ten minutes on two idle cores
    python benchmarks/trainer/run.py --smoke    # the MLP in a few steps, to see that it works

Every measurement is a process of its own (`measure.py`). `results.json` keeps every figure,
`results.md` is made from it. Where there is a GPU, its rows are measured too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from problems import SEED, SIZES
from rich.progress import Progress
from rivals import AGAIN, OURS, RIVALS
from table import write_page

from mlexpert.environment import environment, packages

HERE = Path(__file__).parent
COMMIT = subprocess.run(
    ["git", "describe", "--always", "--dirty", "--exclude", "*"],
    cwd=HERE,
    capture_output=True,
    text=True,
    check=False,
).stdout.strip()
"""Of the code as it was loaded: it may move on while this runs."""
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
"""Bytes. glibc gives memory back and fetches it anew as the heap happens to lie in a process: left
to itself, that adds to any loop, in one process and not in the next, a third of a CNN's step."""
LARGER = {
    ("cuda", "MLP"): {"epochs": 70},
    ("cuda", "CNN"): {"epochs": 30},
    ("cuda", "transformer"): {"rows": 3840},
}
"""Ten times the usual size, with which a GPU would be through before it could be timed."""


def settings(smoke: bool, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield what to measure: all loops in turn, each of them from nothing, then two threads."""
    if smoke:
        tiny = {"name": "MLP", "device": "cpu", "threads": 1, "size": {"rows": 600, "epochs": 2}}
        yield {"kind": "loops", **tiny, "rounds": 1}
        yield {"kind": "cold", **tiny, "rival": OURS}
        return
    places = [("cpu", 1), ("cpu", 2), *([("cuda", 1)] if torch.cuda.is_available() else [])]
    sizes = [
        {"name": name, "device": device, "threads": threads, "size": LARGER.get((device, name), {})}
        for (device, threads), name in product(places, SIZES)
    ]
    alone = [size for size in sizes if size["threads"] == 1]
    yield from ({"kind": "loops", **size, "rounds": rounds} for size in alone)
    yield from (
        {"kind": "cold", **size, "rival": rival}
        for size, rival in product(alone, RIVALS)
        if rival != AGAIN
    )
    yield from ({"kind": "loops", **size, "rounds": rounds} for size in sizes if size not in alone)


def measure(setting: dict[str, Any], output: Path) -> dict[str, Any]:
    """Return the figures of one setting, measured in a fresh process without a terminal."""
    what = {key: value for key, value in setting.items() if key != "device"}
    threads = str(setting["threads"])
    surroundings = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if setting["device"] == "cpu":
        surroundings["CUDA_VISIBLE_DEVICES"] = ""
    if setting["kind"] == "loops":
        surroundings |= KEEP_MEMORY
    done = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), json.dumps(what), str(output)],
        env=surroundings,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-4000:]}")
    shown = {key: value for key, value in setting.items() if key not in ("kind", "size", "rounds")}
    return {**shown, **json.loads(output.read_text())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    parser.add_argument("--rounds", type=int, default=4, help="how often each loop has its turn")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": COMMIT or "unknown",
        "seed": SEED,
        "environment": environment(),
        "packages": packages()
        | {name: version(name) for name in ("pytorch-lightning", "skorch", "tensorboard")},
        "loops": [],
        "cold": [],
    }
    todo = list(settings(options.smoke, options.rounds))
    folder = Path(tempfile.mkdtemp()) if options.smoke else HERE
    with tempfile.TemporaryDirectory() as scratch, Progress() as progress:
        task = progress.add_task("", total=len(todo))
        for setting in todo:
            described = f"{setting['name']}, {setting['device']}, {setting['threads']} thread(s)"
            progress.update(task, description=f"{described}: {setting.get('rival', 'all in turn')}")
            results[setting["kind"]].append(measure(setting, Path(scratch) / "figures.json"))
            progress.advance(task)
            if not options.smoke or setting is todo[-1]:  # a run that is stopped keeps what it has
                (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
                write_page(results, folder / "results.md")
    print((folder / "results.md").read_text())


if __name__ == "__main__":
    main()
