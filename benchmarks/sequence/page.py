"""Turn the lines of the benchmark into its page: targets, then a table for each task."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from page_parts import machines, table_of_targets
from protocol import LOOP, TASKS, Kind, Measured, is_ours
from targets import targets

COSTS = {
    "loop_cpu_seconds": "loop, CPU s",
    "fit_cpu_seconds": "all of `fit`, CPU s",
    "fit_wall_seconds": "all of `fit`, wall s",
    "peak_mib": "peak, MiB",
}
COLUMNS: dict[Kind, dict[str, str]] = {
    "language": {
        "loss": "loss, nats",
        "bits_per_byte": "bits per byte",
        "word_perplexity": "perplexity by word",
        "parameters": "parameters",
        "steps": "steps",
        "arithmetic": "arithmetic",
        **COSTS,
    },
    "speed": {
        "loop_cpu_seconds": "loop, CPU s",
        "first_loop_cpu_seconds": "choosing and 2 steps before, CPU s",
        "loss": "loss, nats",
        "arithmetic": "arithmetic",
        "parameters": "parameters",
        "peak_mib": "peak, MiB",
    },
    "forecast": {"mse": "MSE", "mae": "MAE", "parameters": "parameters", **COSTS},
    "audio": {"accuracy": "right, %", "parameters": "parameters", **COSTS},
    "series": {"error": "error, %", **COSTS},
    "tags": {
        "accuracy": "right words, %",
        "entity_f1": "F1 of entities, %",
        "parameters": "parameters",
        **COSTS,
    },
    "generation": {
        "cached_cpu_seconds": "cached, CPU s",
        "uncached_cpu_seconds": "uncached, CPU s",
        "ratio": "times as fast",
        "difference": "largest difference of logits",
        "largest_logit": "largest logit",
    },
    "pairs": {
        "exact": "right as a whole, %",
        "token_error": "wrong tokens, %",
        "parameters": "parameters",
        **COSTS,
    },
    "mixers": {
        "fp32_ms": "fp32, ms",
        "bf16_ms": "bf16, ms",
        "of_attention": "of attention",
        "state_kib": "state, KiB",
        "parameters": "parameters",
    },
}
PER_CENT = ("accuracy", "error", "entity_f1", "exact", "token_error")
DIGITS = {
    **dict.fromkeys(("loss", "bits_per_byte", "mse", "mae"), 4),
    **dict.fromkeys(("of_attention", "ratio", "cached_cpu_seconds", "uncached_cpu_seconds"), 2),
    **dict.fromkeys(("parameters", "steps", "peak_mib"), 0),
}
MEDIANS: tuple[Kind, ...] = ("speed", "generation")
"""Where lines are rounds of the same."""


def write_page(rows: list[dict], page: Path) -> None:
    """Write `page` from the lines alone, so that it can be made again without measuring."""
    frame = pd.DataFrame(rows)
    parts, absent = [_head(frame), _targets(frame)], []
    for name, task in TASKS.items():
        lines = frame[frame["task"] == name] if len(frame) else frame
        if not len(lines):
            absent.append(task.title)
            continue
        parts += [f"## {task.title}", _about(lines, task), _table(lines, task)]
        if len(lines.get("fold", pd.Series(dtype=str)).dropna().unique()) > 1:
            parts.append(_folds(lines, task))
    if absent:
        parts.append(f"## Not measured\n\n{'; '.join(absent)}.")
    page.write_text("\n\n".join(parts) + "\n")


def _head(frame: pd.DataFrame) -> str:
    said = [
        "# Recipes of sequences, and what others make of the same tasks",
        "",
        "Means over seeds or folds and their standard deviation, medians where rounds of the same",
        "are timed; n: trainings. *Loop*: CPU seconds of the training loop, with its evaluations;",
        "`fit` reads, audits and records besides. *Published* is what the papers print.",
    ]
    return "\n".join([*said, *machines(frame)])


def _targets(frame: pd.DataFrame) -> str:
    return "\n".join(table_of_targets(targets(frame)))


def _about(lines: pd.DataFrame, task: Measured) -> str:
    words = [task.note]
    if task.kind in ("forecast", "audio", "pairs") and "rows" in lines:
        counts = [one for one in lines["rows"] if isinstance(one, list)]
        if counts and all(one == counts[0] for one in counts):
            words.append(f"Rows of each part: {', '.join(f'{one:,}' for one in counts[0])}.")
    if task.kind == "forecast" and "windows" in lines:
        words.append(f"Test windows: {lines['windows'].iloc[0]:,.0f}.")
    return " ".join(words).strip()


def _table(lines: pd.DataFrame, task: Measured) -> str:
    columns = COLUMNS[task.kind]
    shown = [key for key in columns if key in lines and lines[key].notna().any()]
    titles = [columns[key] for key in shown]
    if task.published:
        titles.insert(0, "published")
    if task.kind == "speed":
        titles.append(f"times as fast as {LOOP} (range)")
    text = [f"| method | n | {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) + 1)]
    for method in [name for name in task.methods if (lines["method"] == name).any()]:
        own = lines[lines["method"] == method]
        cells = [_cell(own[key], key, is_median=task.kind in MEDIANS) for key in shown]
        if task.published:
            cells.insert(0, task.published.get(method, ""))
        if task.kind == "speed":
            cells.append(_faster(lines, method))
        text.append(f"| {_name(method)} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(text)


def _folds(lines: pd.DataFrame, task: Measured) -> str:
    """Return the first figure of each fold, by method."""
    key = next(iter(COLUMNS[task.kind]))
    methods = [name for name in task.methods if (lines["method"] == name).any()]
    text = [
        f"| {COLUMNS[task.kind][key]} | {' | '.join(map(_name, methods))} |",
        "| --- |" + " ---: |" * len(methods),
    ]
    for fold, own in lines.sort_values("seed", kind="stable").groupby("fold", sort=False):
        cells = [_cell(own.loc[own["method"] == name, key], key) for name in methods]
        text.append(f"| {fold} | {' | '.join(cells)} |")
    return "\n".join(text)


def _name(method: str) -> str:
    return f"`{method}`" if is_ours(method) else method


def _cell(column: pd.Series, key: str, *, is_median: bool = False) -> str:
    if key == "arithmetic":
        return " or ".join(sorted({str(one) for one in column.dropna()}))
    found = column.astype(float).dropna()
    if not len(found):
        return ""
    value = found.median() if is_median else found.mean()
    if key == "difference":
        return f"{found.max():.1e}"
    if key in PER_CENT:
        spread = f" ± {100 * found.std():.2f}" if len(found) > 1 else ""
        return f"{100 * value:.2f}{spread}"
    digits = DIGITS.get(key, 1 if value < 100 else 0)
    spread = f" ± {found.std():.{digits}f}" if digits == 4 and len(found) > 1 else ""
    return f"{value:,.{digits}f}{spread}"


def _faster(lines: pd.DataFrame, method: str) -> str:
    by = lines.set_index("seed")
    loop, own = (
        by.loc[by["method"] == name, "loop_cpu_seconds"].astype(float) for name in (LOOP, method)
    )
    found = (loop / own).dropna()
    if method == LOOP or not len(found):
        return ""
    return f"{found.median():.2f} ({found.min():.2f} to {found.max():.2f})"
