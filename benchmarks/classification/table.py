"""Turn the lines of the benchmark into its page: figures with their spread, costs and verdicts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from methods import LOOP, ON_GPU, SHORT, ensemble, is_ours, methods, ours
from page_parts import machines
from speed_table import speed_section
from tasks import TASKS, Task
from verdicts import LOWER, verdicts

TITLES = {
    "accuracy": "accuracy",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "log_loss": "log loss",
    "rmse": "RMSE",
    "mae": "MAE",
}
COSTS = {
    "train_cpu_seconds": "train, CPU s",
    "train_wall_seconds": "wall s",
    "predict_cpu_seconds": "predict, CPU s",
    "peak_mib": "peak MiB",
}
NAMES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar-10": "CIFAR-10",
    "trec-6": "TREC-6",
    "sst-2": "SST-2",
    "sms-spam": "SMS spam",
    "adult": "Adult",
    "bank-marketing": "Bank marketing",
    "credit-default": "Credit default",
    "phoneme": "Phoneme",
    "mammography": "Mammography",
    "california-housing": "California housing",
}
NOTES = {
    "sst-2": "Trained on phrases; validated on the official development sentences.",
    "sms-spam": "Distinct messages only: one that is there twice would stand on both sides.",
    "bank-marketing": "With `duration`, as the field does, although it is known only after the "
    "call: these figures compare methods and say nothing of a campaign.",
    "adult": "The authors of TabM report .8700 and .9241 there for TabM-mini with piecewise linear "
    "embeddings, tuned, over 15 seeds; XGBoost, tuned, .8741 and .9265.",
}


def write_page(rows: list[dict], page: Path) -> None:
    """Write `page` from the lines alone, so that it can be made again without measuring."""
    frame = pd.DataFrame(rows)
    parts = [_head(frame)]
    for name, task in TASKS.items():
        lines = frame[frame["task"] == name] if len(frame) else frame
        if len(lines):
            parts += [f"## {NAMES[name]}", _sizes(lines, task, name), _table(lines, task)]
            parts += _comparisons(lines, name, task)
    parts += speed_section(frame) if len(frame) else []
    parts += [_on_gpu(frame), _missing(frame)]
    page.write_text("\n\n".join(part for part in parts if part) + "\n")


def _head(frame: pd.DataFrame) -> str:
    said = [
        "# The classification recipes beside their rivals",
        "",
        "Mean over seeds (official split) or folds, and their standard deviation; best of a column",
        "in bold. n: trainings. Every training is a process of its own, and looks at its test rows",
        "once, after training. Seconds are those of one training with all that belongs to it, and",
        "of predicting the test rows; those of two machines stand side by side, as the last column",
        "names them. Ours hold 15 % of the training rows out for validation (10 % of texts, 2 % of",
        "images), boosting 15 %. Where n is smaller than elsewhere, or networks of pytabkit are",
        "absent, a training takes minutes: their number was set beforehand, in `methods.py`.",
        "",
        "A difference is ahead or behind where its p-value, corrected by Holm over the rivals, is",
        "below .05: by the t-test over folds of Nadeau and Bengio, or by McNemar's on an official",
        "test split, in every seed. Otherwise it is level.",
    ]
    return "\n".join([*said, *machines(frame)])


def _sizes(lines: pd.DataFrame, task: Task, name: str) -> str:
    train, test = lines["rows"].iloc[0]
    how = "official split" if task.is_official else "five folds"
    return f"{train:,} training and {test:,} test rows, {how}. {NOTES.get(name, '')}".strip()


def _table(lines: pd.DataFrame, task: Task) -> str:
    groups = lines.groupby("method", sort=False)
    means, spreads = groups[[*task.shown]].mean(), groups[[*task.shown]].std()
    titles = [*(TITLES[key] for key in task.shown), *COSTS.values(), "on"]
    text = [
        f"| method | n | {' | '.join(titles)} |",
        "| --- |" + " ---: |" * (len(titles) + 1),
    ]
    for method, row in means.iterrows():
        own, cells = groups.get_group(method), []
        for key in task.shown:
            best = means[key].min() if key in LOWER else means[key].max()
            cells.append(_cell(row[key], spreads.loc[method, key], key, bold=row[key] == best))
        cells += [_cost(own, key) for key in COSTS]
        shown = f"`{method}`" if is_ours(str(method)) else method
        cells.append(" / ".join(sorted(own["machine"].unique())))
        text.append(f"| {shown} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(text)


def _cost(lines: pd.DataFrame, key: str) -> str:
    """Return the mean on each machine, sorted by name: over two it would mean nothing."""
    digits = 1 if key == "predict_cpu_seconds" else 0
    return " / ".join(f"{mean:,.{digits}f}" for mean in lines.groupby("machine")[key].mean())


def _cell(mean: float, spread: float, key: str, *, bold: bool) -> str:
    digits = 0 if key in ("rmse", "mae") else 4
    value = f"{mean:,.{digits}f}"
    value = f"**{value}**" if bold else value
    return value if pd.isna(spread) else f"{value} ± {spread:,.{digits}f}"


def _comparisons(lines: pd.DataFrame, name: str, task: Task) -> list[str]:
    """Return a table for each of ours that is compared with others."""
    pairs = {f"image-cls, {SHORT} epochs": [LOOP]} if task.kind == "images" else {}
    others = [method for method in lines["method"].unique() if not is_ours(method)]
    if task.kind != "images":
        pairs = {ours(name): others, ensemble(name): others}
    parts = []
    for own, rivals in pairs.items():
        there = set(lines["method"])
        rivals = [rival for rival in rivals if rival in there]
        if own not in there or not rivals:
            continue
        text = [
            f"| `{own}` against | {' | '.join(TITLES[key] for key in task.shown)} |",
            "| --- |" + " --- |" * len(task.shown),
        ]
        columns = {key: verdicts(lines, own, rivals, key, task) for key in task.shown}
        for rival in rivals:
            text.append(f"| {rival} | {' | '.join(columns[key][rival] for key in columns)} |")
        parts.append("\n".join(text))
    return parts


def _on_gpu(frame: pd.DataFrame) -> str:
    lines = frame[frame["method"].isin(ON_GPU)] if len(frame) else frame
    said = [
        f"- `{method}`: {own['notes'].map(lambda one: one['train_loop_seconds']).mean():,.1f} s of "
        "training without reading, auditing and recording, to "
        f"{own['accuracy'].mean():.4f}."
        for method, own in (lines.groupby("method") if len(lines) else ())
    ]
    return "\n".join(["## On a GPU", "", *said]) if said else ""


def _missing(frame: pd.DataFrame) -> str:
    """Return what is planned on each task, and not there."""
    there = set(zip(frame["task"], frame["method"], strict=True)) if len(frame) else set()
    said = []
    for name in TASKS:
        planned = [*methods(name), *(sorted(ON_GPU) if name == "cifar-10" else [])]
        absent = [one for one in dict.fromkeys(planned) if (name, one) not in there]
        if absent:
            said.append(f"- {NAMES[name]}: {', '.join(absent)}")
    needs = ", ".join(sorted(ON_GPU))
    head = [
        "## Not measured",
        "",
        f"{needs} need a GPU; `run.py` measures them where it finds one.",
    ]
    return "\n".join([*head, "", *said]) if said else ""
