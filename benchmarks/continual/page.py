"""Turn the lines of the benchmark into its page: targets, accuracies and costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from page_parts import machines, table_of_targets
from protocol import TASKS, Measured, is_ours
from speed import CONTESTANTS, PAIRS, SPEED
from targets import ratios, targets, values

COLUMNS = {
    "accuracy": "accuracy, %",
    "task_aware": "with the task told, %",
    "forgetting": "forgetting, %",
    "loop_cpu_seconds": "training, CPU s",
    "task_seconds": "a task, s",
    "buffer_kib": "remembered, KiB",
    "peak_mib": "peak MiB",
}
PER_CENT = ("accuracy", "task_aware", "forgetting")


def write_page(rows: list[dict], page: Path) -> None:
    """Write `page` from the lines alone, so that it can be made again without measuring."""
    frame = pd.DataFrame(rows)
    parts, absent = [_head(frame), _targets(frame)], []
    for name, task in TASKS.items():
        lines = frame[frame["task"] == name] if len(frame) else frame
        if not len(lines):
            absent.append(f"{task.title} (needs a GPU)" if task.needs_gpu else task.title)
            continue
        parts += [f"## {task.title}", _about(lines, task), _table(lines, task)]
    parts += _speed(frame)
    if absent:
        parts.append(f"## Not measured\n\n{'; '.join(absent)}.")
    page.write_text("\n\n".join(parts) + "\n")


def _head(frame: pd.DataFrame) -> str:
    said = [
        "# The continual-cls family beside its rivals",
        "",
        "Accuracy on the official test rows after the last task: mean over the tasks, in per cent,",
        "mean over seeds and their standard deviation; n: trainings. It is what the scenario asks;",
        "where the task is *told*, that is another question, and has a column of its own. The test",
        "rows are looked at once, after training. Ours hold 2 % of the training rows out for",
        "validation, on which forgetting is measured (best before the last task, less the end).",
        "Training: CPU seconds of the loop, for ours of all of `Trainer.run`, with what a process",
        "does for the first time; speed is compared in a table of its own. Remembered: what the",
        "method carries from step to step besides the network.",
    ]
    return "\n".join([*said, *machines(frame)])


def _targets(frame: pd.DataFrame) -> str:
    text = table_of_targets(targets(frame))
    text += [
        "",
        "That EWC and SI do not beat fine-tuning where classes are added is the published result.",
        "That the Fisher information is the same at batch sizes of 1 and 128 is a test:",
        "`tests/blocks/importance/test_fisher.py`.",
    ]
    return "\n".join(text)


def _about(lines: pd.DataFrame, task: Measured) -> str:
    train, test = lines["rows"].iloc[0]
    return f"{train:,} training and {test:,} test rows. {task.note}".strip()


def _table(lines: pd.DataFrame, task: Measured) -> str:
    shown = [key for key in COLUMNS if key in lines and lines[key].notna().any()]
    if task.scenario == "task":  # the same figure twice
        shown.remove("task_aware")
    titles = [COLUMNS[key] for key in shown]
    if task.published:
        titles.insert(1, "published")
    groups = lines.groupby("method", sort=False)
    text = [f"| method | n | {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) + 1)]
    for method in [name for name in task.methods if name in groups.groups]:
        own = groups.get_group(method)
        cells = [_cell(own[key].astype(float), key) for key in shown]
        if task.published:
            cells.insert(1, task.published.get(method, ""))
        name = f"`{method}`" if is_ours(method) else method
        text.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(text)


def _cell(found: pd.Series, key: str) -> str:
    mean = found.mean()
    if pd.isna(mean):
        return ""
    if key not in PER_CENT:
        return f"{mean:,.1f}" if mean < 100 else f"{mean:,.0f}"
    spread = f" ± {100 * found.std():.2f}" if len(found) > 1 else ""
    return f"{100 * mean:.2f}{spread}"


def _speed(frame: pd.DataFrame) -> list[str]:
    lines = frame[frame["task"] == SPEED] if len(frame) else frame
    if not len(lines):
        return []
    text = [
        "| training | rounds | CPU s | to settle | wall s | times the CPU s of ours (range) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    own_of = {name: own for own, rivals in PAIRS.items() for name in (own, *rivals)}
    for name in [name for name in CONTESTANTS if (lines["method"] == name).any()]:
        cpu, settle, wall = (
            values(frame, SPEED, name, f"{of}_seconds") for of in ("cpu", "settle_cpu", "wall")
        )
        ratio = ratios(frame, own_of[name], name)
        median = [f"{found.median():.2f}" if len(found) else "" for found in (cpu, settle, wall)]
        spread = f" ({ratio.min():.2f} to {ratio.max():.2f})" if len(ratio) > 1 else ""
        cells = [f"{len(cpu)}", *median, f"{ratio.median():.2f}{spread}" if len(ratio) else ""]
        text.append(f"| {f'`{name}`' if is_ours(name) else name} | {' | '.join(cells)} |")
    return [
        "## CPU seconds of an epoch",
        "One epoch over the five tasks of the fast bar, batch 128, Adam 1e-3, the same network, "
        "one thread; in turn, each in a process of its own, medians over rounds. Ours is all of "
        "`Trainer.run`: it scores 120 validation rows after each task, and before each (*to "
        "settle*) it chooses a micro-batch and keeps a checkpoint of weights, optimiser and "
        "buffer. The rivals train and do nothing else. *Stock* is Avalanche's own SplitMNIST "
        "through its DataLoader; the other rivals have the tensors in memory.",
        "\n".join(text),
    ]
