"""Turn the lines of the benchmark into its page: targets, figures with their spread, and costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from contestants import IMBLEARN, OURS, is_ours, methods
from page_parts import machines, table_of_targets
from protocol import SIX, TASKS, Measured
from resampling_speed import CASES, LOOP
from targets import AT_ONCE, MOST_BRIER, Against, against, brier_ratios, targets, times_as_fast

TITLES = {
    "accuracy": "accuracy",
    "tail3_recall": "recall of the 3 rarest",
    "worst_class_recall": "worst class",
    "natural_brier": "Brier, natural prior",
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "brier": "Brier",
    "train_cpu_seconds": "train, CPU s",
    "peak_mib": "peak MiB",
}
LOWER = {"brier", "natural_brier"}
COSTS = ("train_cpu_seconds", "peak_mib")
OVER_SEEDS = "mammography, three seeds"


def write_page(rows: list[dict], page: Path) -> None:
    """Write `page` from the lines alone, so that it can be made again without measuring."""
    frame = pd.DataFrame(rows)
    parts = [_head(frame), _targets(frame)]
    absent = []
    for name, task in TASKS.items():
        lines = frame[frame["task"] == name] if len(frame) else frame
        if not len(lines):
            absent.append(f"{task.title} (needs a GPU)" if task.needs_gpu else task.title)
            continue
        parts += [f"## {task.title}", _sizes(lines, task)]
        parts += [_table(_over_folds(lines) if name == OVER_SEEDS else lines, task)]
        parts += [_comparison(frame, name)]
    parts += [*_probabilities(frame), *_speed(frame)]
    if absent:
        parts.append(f"## Not measured\n\n{'; '.join(absent)}.")
    page.write_text("\n\n".join(part for part in parts if part) + "\n")


def _head(frame: pd.DataFrame) -> str:
    said = [
        "# The imbalanced-cls family beside its rivals",
        "",
        "Mean over seeds or folds and their standard deviation; best of a column in bold; n:",
        "trainings. Every training looks at its test rows once, after it. Decisions are each",
        "method's own `predict`, for the rivals the most probable class; `imbalanced-cls, argmax`",
        "is the most probable class of the same model, which is what plain cross-entropy decides.",
        "Of two classes the rarer is positive. The Brier score of the natural prior weighs test",
        "rows so that each class is as frequent as in training. Ours hold validation rows out of",
        "the training rows: 15 % of tables and texts, less of images, as said there.",
    ]
    return "\n".join([*said, *machines(frame)])


def _targets(frame: pd.DataFrame) -> str:
    text = table_of_targets(targets(frame))
    text += [
        "",
        "Level: no difference beyond chance by the t-test over folds of Nadeau and Bengio at .05,",
        "against the rival with the best mean in that metric. It says little where folds or rare",
        "rows are few.",
    ]
    return "\n".join(text)


def _sizes(lines: pd.DataFrame, task: Measured) -> str:
    train, test = lines["rows"].iloc[0]
    how = "five folds" if task.has_folds else "balanced test" if task.is_long_tail else "its split"
    return f"{train:,} training and {test:,} test rows, {how}. {task.note}".strip()


def _over_folds(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a line per method and seed: fold k of the seed s has the number s + k."""
    seeds = lines.assign(seed=lines["seed"] // 100 * 100)
    return seeds.groupby(["method", "seed"], sort=False).mean(numeric_only=True).reset_index()


def _table(lines: pd.DataFrame, task: Measured) -> str:
    columns = [key for key in (*task.shown, *COSTS) if key in lines]
    groups = lines.groupby("method", sort=False)
    means, spreads = groups[columns].mean(), groups[columns].std()
    text = [
        f"| method | n | {' | '.join(TITLES[key] for key in columns)} |",
        "| --- |" + " ---: |" * (len(columns) + 1),
    ]
    for method in sorted(means.index, key=lambda name: not is_ours(name)):
        cells = []
        for key in columns:
            best = means[key].min() if key in LOWER else means[key].max()
            bold = key not in COSTS and means.loc[method, key] == best
            cells.append(_cell(means.loc[method, key], spreads.loc[method, key], key, bold=bold))
        shown = f"`{method}`" if is_ours(method) else method
        text.append(f"| {shown} | {len(groups.get_group(method))} | {' | '.join(cells)} |")
    return "\n".join(text)


def _cell(mean: float, spread: float, key: str, *, bold: bool) -> str:
    if key in COSTS:
        return "" if pd.isna(mean) else f"{mean:,.1f}" if mean < 10 else f"{mean:,.0f}"
    digits = 4 if key in LOWER else 3
    value = f"**{mean:.{digits}f}**" if bold else f"{mean:.{digits}f}"
    return value if pd.isna(spread) else f"{value} ± {spread:.{digits}f}"


def _comparison(frame: pd.DataFrame, task: str) -> str:
    """Compare the default with the best rival of each sort, in both metrics of the target."""
    if task not in SIX:
        return ""
    there = set(frame[frame["task"] == task]["method"])
    sorts = {
        "the best of imbalanced-learn": IMBLEARN,
        "the best of all that are measured": tuple(
            n for n in methods(task) if not is_ours(n) and n in there
        ),
    }
    text = [f"| `{OURS}` against | PR-AUC | balanced accuracy |", "| --- | --- | --- |"]
    for sort, rivals in sorts.items():
        found = [against(frame, task, key, rivals) if rivals else None for key in AT_ONCE]
        text.append(f"| {sort} | {' | '.join(map(_verdict, found))} |")
    return "\n".join(text)


def _verdict(found: Against | None) -> str:
    if found is None:
        return "not measured"
    ahead = found.gap > 0 and found.p < 0.05
    word = "**behind**" if found.is_behind else "**ahead**" if ahead else "level"
    return f"{found}, {found.folds} folds: {word}"


def _probabilities(frame: pd.DataFrame) -> list[str]:
    ratios = brier_ratios(frame)[0]
    if not ratios:
        return []
    text = ["| task | method | n | times the plain model's |", "| --- | --- | ---: | ---: |"]
    for one in ratios:
        value = f"**{one.ratio:.3f}**" if one.ratio > MOST_BRIER else f"{one.ratio:.3f}"
        text.append(f"| {TASKS[one.task].title} | `{one.method}` | {one.seeds} | {value} |")
    return [
        "## Probabilities after rebalancing",
        "Brier score of `predict_proba` under the natural prior, over that of the plain model: the "
        "same network trained on the data as they are, on the same seeds. Above "
        f"{MOST_BRIER} in bold.",
        "\n".join(text),
    ]


def _speed(frame: pd.DataFrame) -> list[str]:
    parts = []
    for case, task in CASES.items():
        lines = frame[frame["task"] == case] if len(frame) else frame
        if not len(lines):
            continue
        text = [
            f"| {TASKS[task].title}, {lines['epoch_rows'].iloc[0]:,.0f} rows | rounds | CPU s | "
            "wall s | times as fast (range) |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for method in sorted(lines["method"].unique(), key=lambda name: name == LOOP):
            own, ratio = lines[lines["method"] == method], times_as_fast(frame, case, method)
            text.append(
                f"| {method} | {len(own)} | {own['cpu_seconds'].median():,.2f} | "
                f"{own['wall_seconds'].median():,.2f} | "
                f"{ratio.median():.2f} ({ratio.min():.2f} to {ratio.max():.2f}) |"
            )
        parts.append("\n".join(text))
    if not parts:
        return []
    return [
        "## Seconds of SMOTE and an epoch",
        "The same network, batch size and encoded rows, in turn and each in a process of its own; "
        "medians over rounds. Times as fast: the CPU seconds of imbalanced-learn with a DataLoader "
        "loop in fp32 over those of the row, in each round.",
        *parts,
    ]
