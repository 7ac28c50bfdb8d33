"""Compare the predicted peak of a training step with the one that a process really reaches.

    python benchmarks/memory/run.py            # eight networks, each in processes of its own
    python benchmarks/memory/run.py --smoke    # two with small batches, to see that it works

`results.json` keeps every figure, `results.md` is made from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MIB = 2**20
BUDGETS = (0.9, 0.4, 0.15)
"""Memory that is said to be available, as a share of what the whole batch takes."""


def measure(name: str, precision: str, share: int) -> dict[str, Any]:
    """Return what is predicted, measured and chosen for one network, in this process."""
    import torch
    from networks import build

    from mlexpert.training.memory import size_microbatch
    from mlexpert.training.memory.allocator import give_back_at_once, keep_freed
    from mlexpert.training.memory.measure import measure_peak
    from mlexpert.training.memory.predict import predict_peak
    from mlexpert.training.memory.put_back import put_back
    from mlexpert.training.memory.rehearse import rehearse

    model, method, optimizer, batch = build(name, share)
    bf16 = partial(torch.autocast, "cpu", torch.bfloat16)
    autocast = bf16 if precision == "bf16" else nullcontext
    parts = (model, method, optimizer, batch)

    def steps(size: int) -> int:
        with put_back(model, method, optimizer):
            return measure_peak(
                lambda: rehearse(*parts, size, autocast=autocast), torch.device("cpu")
            )[1]

    rows = len(batch)
    started = time.process_time()
    whole = predict_peak(*parts, rows, autocast=autocast).peak
    seconds = [time.process_time() - started]
    give_back_at_once()
    steps(max(2, rows // 8))  # what libraries set up once
    peaks = []
    for size in (rows // 8, rows // 4, rows // 2, rows):
        started = time.process_time()
        predicted = predict_peak(*parts, size, autocast=autocast).peak
        seconds.append(time.process_time() - started)
        peaks.append({"size": size, "predicted": predicted, "measured": steps(size)})
    whole = peaks[-1]["measured"]
    chosen = []
    for budget in BUDGETS:
        with_copy = int(budget * whole) + sum(t.nbytes for t in model.state_dict().values())
        sizing = size_microbatch(*parts, batch_size=rows, autocast=autocast, available=with_copy)
        chosen.append({"budget": budget, **sizing.record()})
    keep_freed()
    loose = max(steps(rows) for _ in range(3))
    return {
        "network": name,
        "precision": precision,
        "rows": rows,
        "predict_cpu_seconds": [round(each, 3) for each in seconds],
        "peaks": peaks,
        "chosen": chosen,
        "kept_freed": loose,
    }


def in_a_process(name: str, precision: str, share: int) -> dict[str, Any]:
    """Measure in a fresh process, so that nothing else is in its memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, __file__, "--one", name, precision, str(share), str(file)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return json.loads(file.read_text())


def error(predicted: int | None, measured: int | None) -> str:
    if predicted is None or not measured:
        return "-"
    return f"{100 * (predicted / measured - 1):+.1f} %"


def write_page(results: dict, page: Path) -> None:
    """Write the page from the figures alone."""
    machine, versions = results["environment"], results["packages"]
    lines = [
        "# Memory: predicted, measured, chosen",
        "",
        f"Measured {results['date']} at commit {results['commit']}; {machine['cpu']}, one thread; "
        f"Python {machine['python']}, torch {versions['torch']}, timm {versions['timm']}; seed 0, "
        "AdamW, random inputs.",
        "",
        "A peak is what two training steps take beyond the weights and the data. *Predicted* is",
        "the fake run alone, which allocates nothing; *measured* is the growth of the process's",
        "memory (resident, without pages of files) while the C library gives freed memory back at",
        "once. The last columns: the same while it keeps freed memory, as it does in ordinary",
        "training, and the CPU time of a prediction (the first, which also imports; the median).",
        "",
        "| network | rows | measured MiB | predicted | at 1/2 | 1/4 | 1/8 of the rows | keeping "
        "freed | first / next prediction s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["networks"]:
        *smaller, whole = row["peaks"]
        first, *others = row["predict_cpu_seconds"]
        median = sorted(others)[len(others) // 2]
        errors = [error(p["predicted"], p["measured"]) for p in (whole, *reversed(smaller))]
        loose = row["kept_freed"] / whole["measured"]
        lines.append(
            f"| {row['network']}, {row['precision']} | {row['rows']:,} "
            f"| {whole['measured'] / MIB:,.0f} | {' | '.join(errors)} | {loose:.2f}x "
            f"| {first:.2f} / {median:.2f} |"
        )
    lines += [
        "",
        "Chosen where less is available, as a share of what the whole batch takes. *Expected* is",
        "the prediction as the probes before had corrected it, against what the chosen size then",
        "took; a tenth of what is available is left alone. Copies of the weights, which the probes",
        "put back, are not counted here.",
        "",
        "| network | available | rows chosen | probes | taken of available | expected |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["networks"]:
        for pick in row["chosen"]:
            taken = f"{pick['measured'] / pick['available']:.0%}" if pick["size"] else "-"
            lines.append(
                f"| {row['network']}, {row['precision']} | {pick['budget']:.0%} "
                f"| {pick['size'] or 'nothing fits'} | {len(pick['probes'])} | {taken} "
                f"| {error(pick['predicted'], pick['measured'])} |"
            )
    page.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that it works")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, precision, share, file = given.one
        Path(file).write_text(json.dumps(measure(name, precision, int(share))))
        return
    from networks import NETWORKS

    from mlexpert.environment import environment, packages

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    cases = [(name, "fp32") for name in NETWORKS] + [("ResNet-20", "bf16")]
    if given.smoke:
        cases = [("MLP 784-256-10", "fp32"), ("ResNet-8", "fp32")]
    results = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit or "unknown",
        "environment": environment(),
        "packages": packages(),
        "networks": [in_a_process(*case, 16 if given.smoke else 1) for case in cases],
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if given.smoke else HERE
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        write_page(results, folder / "results.md")
        print((folder / "results.md").read_text())


if __name__ == "__main__":
    main()
