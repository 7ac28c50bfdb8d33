"""Turn the lines of the benchmark into its page: targets, accuracies and costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from foreign import ATTACKS, FOREIGN, OWN
from page_parts import machines, table_of_targets
from protocol import TASKS, Measured, is_ours
from speed import OURS, SPEEDS
from targets import ratios, targets, values

COLUMNS = {
    "clean": "clean, %",
    "pgd": "PGD-50 x 10, %",
    "auto": "auto_attack, %",
    "last_less_best": "last less best epoch, points",
    "loop_cpu_seconds": "training, CPU s",
    "train_wall_seconds": "all of `fit`, wall s",
    "pgd_cpu_seconds": "PGD, CPU s",
    "auto_cpu_seconds": "auto_attack, CPU s",
}
PER_CENT = ("clean", "pgd", "auto", "last_less_best")


def write_page(rows: list[dict], page: Path) -> None:
    """Write `page` from the lines alone, so that it can be made again without measuring."""
    frame = pd.DataFrame(rows)
    parts, absent = [_head(frame), _targets(frame)], []
    for name, task in TASKS.items():
        lines = of_task(frame, name)
        if not len(lines):
            absent.append(f"{task.title} (needs a GPU)" if task.needs_gpu else task.title)
            continue
        parts += [f"## {task.title}", _about(lines, task), _table(lines, task)]
    parts += _foreign(frame) + _speeds(frame)
    if absent:
        parts.append(f"## Not measured\n\n{'; '.join(absent)}.")
    page.write_text("\n\n".join(parts) + "\n")


def of_task(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the lines of a task."""
    return frame[frame["task"] == name] if len(frame) else frame


def _head(frame: pd.DataFrame) -> str:
    said = [
        "# The adversarial-cls family, and its attacks beside those of others",
        "",
        "Shares of the official test rows that are right, in per cent, mean over seeds and their",
        "standard deviation; n: trainings. *PGD-50 x 10*: the worst of ten restarts of fifty steps",
        "on the cross-entropy; *auto_attack*: the worst of our standard ensemble on the first test",
        "rows. The attacker knows the model (white-box, L-inf), a row that is wrong by itself",
        "counts as lost, and the test rows are attacked once, after training. Ours hold 2 % of the",
        "training rows out for validation, on which an epoch is chosen by PGD-10; *last less best*",
        "is of those. Training: CPU seconds of `Trainer.run`, with these attacks on validation.",
    ]
    return "\n".join([*said, *machines(frame)])


def _targets(frame: pd.DataFrame) -> str:
    return "\n".join(table_of_targets(targets(frame)))


def _about(lines: pd.DataFrame, task: Measured) -> str:
    train, test = lines["rows"].iloc[0]
    attacked = f"PGD on {task.pgd_rows or test:,} and auto_attack on {task.auto_rows:,} of these"
    return f"{train:,} training and {test:,} test rows, {attacked}. {task.note}".strip()


def _table(lines: pd.DataFrame, task: Measured) -> str:
    shown = [key for key in COLUMNS if key in lines and lines[key].notna().any()]
    titles = [COLUMNS[key] for key in shown]
    if task.published:
        titles.insert(0, "published: clean / PGD / AutoAttack")
    groups = lines.groupby("method", sort=False)
    text = [f"| method | n | {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) + 1)]
    for method in [name for name in task.methods if name in groups.groups]:
        own = groups.get_group(method)
        cells = [_cell(own[key].astype(float), key) for key in shown]
        if task.published:
            cells.insert(0, task.published.get(method, ""))
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


def _foreign(frame: pd.DataFrame) -> list[str]:
    lines = of_task(frame, FOREIGN)
    if not len(lines):
        return []
    text = [
        "| attack | images | left, % | beyond epsilon | CPU s | model |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name in [name for name in (OWN, *ATTACKS) if (lines["method"] == name).any()]:
        own = lines[lines["method"] == name].iloc[0]
        cells = (
            f"{own['attacked']:,.0f}",
            f"{100 * own['left']:.2f}",
            f"{max(0.0, own['overshoot']):.1e}",
            f"{own['cpu_seconds']:,.1f}",
            own["model"],
        )
        text.append(f"| {name} | {' | '.join(cells)} |")
    return [
        "## Attacks that others wrote, on our model",
        "The default recipe on MNIST, L-inf 0.3, seed 0, trained once; the first test images. What "
        "an attack returned is put back into the threat (*beyond epsilon*: how far it was outside) "
        "before it is judged. Targets compare lines of one model alone.",
        "\n".join(text),
    ]


def _speeds(frame: pd.DataFrame) -> list[str]:
    parts = []
    for task, speed in SPEEDS.items():
        lines = of_task(frame, task)
        if not len(lines):
            continue
        text = [
            "| attack | rounds | images | CPU s | left, % | ours takes (range) |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name in [name for name in speed.contestants if (lines["method"] == name).any()]:
            own = lines[lines["method"] == name]
            cpu, left = (values(frame, task, name, key) for key in ("cpu_seconds", "left"))
            cells = [
                f"{len(own)}",
                f"{own['images'].iloc[0]:,.0f}",
                f"{cpu.median():.2f}",
                f"{100 * left.mean():.1f}" if len(left) else "",
                _taken(ratios(frame, task, name)) if name != OURS else "",
            ]
            text.append(f"| {name} | {' | '.join(cells)} |")
        parts += [f"## {speed.title}", "\n".join(text)]
    if parts:
        parts.insert(
            0,
            "## Speed\n\nThe same model, images, steps and batch of 256, one thread; in turn, each "
            "in a process of its own, medians over rounds; *ours takes*: the median over rounds of "
            "the CPU seconds of ours over those of the row. PGD makes every step on every row, for "
            "ours as for the others.",
        )
    return parts


def _taken(found: pd.Series) -> str:
    if not len(found):
        return ""
    spread = f" ({found.min():.2f} to {found.max():.2f})" if len(found) > 1 else ""
    return f"{found.median():.2f}{spread}"
