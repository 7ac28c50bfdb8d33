"""Turn the figures of the precision benchmark into its page and its figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

KINDS = ("fp32", "fp32 channels_last", "bf16", "bf16 channels_last")
COLORS = {"fp32": "#3b6ea5", "bf16": "#c2571a"}
CURVE = "calibrated_log_loss"
METRICS = {
    "pr_auc": "PR-AUC",
    "balanced_accuracy": "balanced accuracy",
    "argmax_balanced_accuracy": "of plain argmax",
    "brier": "Brier",
}


def write_page(results: dict, page: Path) -> None:
    """Write the page from the figures alone."""
    machine, versions = results["environment"], results["packages"]
    lines = [
        "# fp32 beside bf16 on a CPU",
        "",
        f"Measured {results['date']} at commit {results['commit']}; {machine['cpu']}, "
        f"{machine['threads']} thread; Python {machine['python']}, torch {versions['torch']}, "
        f"mlexpert {versions['mlexpert']}.",
        "",
        "## Seconds of a step",
        "",
        "CPU milliseconds of a whole training step on one thread (median, the kinds by turns), and",
        "how many times as fast as fp32 it is. One thread, because two that wait for one another",
        "spend CPU time on that where the machine is busy.",
        "",
        "| network | batch | fp32 | fp32, channels_last | bf16 | bf16, channels_last |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(_step_row, results["steps"]),
        "",
        "## What `auto` decides here",
        "",
        "| network | batch | decision and why | CPU s to decide | loss differs by | cosine |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(_decision_row, results["decisions"]),
        "",
        "Loss and cosine are bf16's first loss and gradient beside those of fp32.",
        "",
        "## Whole trainings",
        "",
        "`imbalanced-cls` with its defaults, the same seed in both precisions; scores are those of",
        "the validation split. `best` is the calibrated log loss of the epoch that was kept.",
        "",
        f"| task | seed | precision | CPU s | best | {' | '.join(METRICS.values())} |",
        f"| {' | '.join(['---'] * (5 + len(METRICS)))} |",
        *map(_training_row, _in_order(results["trainings"])),
        "",
        "![Calibrated log loss on validation over epochs, in fp32 and in bf16](curves.svg)",
    ]
    page.write_text("\n".join(lines) + "\n")


def _step_row(row: dict) -> str:
    times = row["cpu_ms"]
    cells = [
        f"{times[kind]:.1f} ({times['fp32'] / times[kind]:.2f})" if kind in times else ""
        for kind in KINDS[1:]
    ]
    return f"| {row['network']} | {row['batch']} | {times['fp32']:.1f} | {' | '.join(cells)} |"


def _decision_row(row: dict) -> str:
    bf16 = next(trial for trial in row["trials"] if trial["arithmetic"]["precision"] == "bf16")
    return (
        f"| {row['network']} | {row['batch']} | {row['why']} | {row['cpu_seconds']:.1f} "
        f"| {bf16['loss_change']:.5f} | {bf16['cosine']:.4f} |"
    )


def _training_row(row: dict) -> str:
    scores = " | ".join(f"{row[name]:.4f}" for name in METRICS)
    return (
        f"| {row['task']} | {row['seed']} | {row['precision']} | {row['cpu_seconds']:.0f} "
        f"| {row[CURVE]:.4f} | {scores} |"
    )


def _in_order(trainings: list[dict]) -> list[dict]:
    tasks = list(dict.fromkeys(row["task"] for row in trainings))
    return sorted(trainings, key=lambda row: (tasks.index(row["task"]), row["seed"]))


def draw_curves(results: dict, path: Path) -> None:
    """Draw calibrated log loss over epochs, a panel for each task; equal figures, equal bytes."""
    tasks = list(dict.fromkeys(row["task"] for row in results["trainings"]))
    with matplotlib.rc_context({"svg.hashsalt": "mlexpert", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8.0, 2.6 * -(-len(tasks) // 2)), layout="constrained")
        panels = figure.subplots(-(-len(tasks) // 2), 2, squeeze=False).flat
        for axes, task in zip(panels, tasks, strict=False):
            rows = [row for row in results["trainings"] if row["task"] == task]
            for row in rows:
                epochs = range(1, len(row["curve"]) + 1)
                style = "--" if row["seed"] else "-"
                label = f"{row['precision']}, seed {row['seed']}"
                color = COLORS[row["precision"]]
                axes.plot(epochs, row["curve"], style, color=color, lw=1.3, label=label)
            values = [value for row in rows for value in row["curve"]]
            # The first epochs would flatten all that comes after.
            axes.set(title=task, ylim=(0.9 * min(values), min(max(values), 2.5 * min(values))))
            axes.set(xlabel="epoch", ylabel="calibrated log loss")
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
