"""Turn the figures of `results.json` into the page."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

BASELINE, AGAIN = "hand-written", "hand-written, again"


def write_page(results: dict[str, Any], page: Path) -> None:
    """Write the page from the figures alone, so that it can be made again without measuring."""
    parts = [_head(results), _overview(results["loops"])]
    for name in dict.fromkeys(setting["name"] for setting in results["loops"]):
        parts.append(f"## {name}")
        for setting in results["loops"]:
            if setting["name"] == name:
                parts += [_title(setting), _loops(setting)]
        for device in dict.fromkeys(row["device"] for row in results["cold"]):
            rows = [r for r in results["cold"] if (r["name"], r["device"]) == (name, device)]
            if rows:
                parts += [_cold_title(rows[0]), _cold(rows)]
    if results["environment"]["gpu"] is None:
        parts.append("No GPU was at hand: its rows are filled by a run where there is one.")
    page.write_text("\n\n".join(parts) + "\n")


def ratios(setting: dict[str, Any], rival: str, clock: str) -> list[float]:
    """Return a rival's time over the mean of the two hand-written turns, round by round."""
    times = setting[clock]
    rounds = zip(times[rival], times[BASELINE], times[AGAIN], strict=True)
    return [seconds / ((first + second) / 2) for seconds, first, second in rounds]


def _head(results: dict[str, Any]) -> str:
    machine, versions = results["environment"], results["packages"]
    names = (
        "torch", "accelerate", "transformers", "pytorch-lightning", "skorch", "mlexpert"
    )  # fmt: skip
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return "\n".join(
        [
            "# The training loop beside those that people use",
            "",
            f"Measured {results['date']} at commit {results['commit']}; seed {results['seed']}; "
            f"{machine['cpu']}, {machine['cores']} cores{gpu}; Python {machine['python']}, "
            + ", ".join(f"{name} {versions[name]}" for name in names)
            + ".",
            "",
            "Medians over the rounds, with the lowest and the highest in brackets. A ratio is that",
            "to the hand-written loop, which has two turns in each round: to their mean. How far",
            "these two are from 1 is noise. [How it is measured](README.md).",
        ]
    )


def _overview(loops: list[dict[str, Any]]) -> str:
    """Show the ratio that counts of every loop: of CPU time, and on a GPU of wall time."""
    rivals = list(loops[0]["cpu_seconds"])
    titles = [f"{setting['name']}, {_where(setting)}" for setting in loops]
    rows = [
        [rival, *(f"{median(ratios(s, rival, _clock(s))):.3f}" for s in loops)] for rival in rivals
    ]
    equal = [f"{s['same_losses']['equal']:,} of {s['same_losses']['steps']:,}" for s in loops]
    rows.append(["losses of mlexpert equal bit for bit", *equal])
    return "\n".join(_table(["time over hand-written", *titles], rows))


def _title(setting: dict[str, Any]) -> str:
    turns = len(setting["cpu_seconds"][BASELINE])
    rounds = "1 round" if turns == 1 else f"{turns} rounds"
    return f"{setting['steps']:,} steps, {rounds}, {_where(setting)}:"


def _loops(setting: dict[str, Any]) -> str:
    rows = []
    for rival in setting["cpu_seconds"]:
        cells = [rival]
        for clock in ("cpu_seconds", "wall_seconds"):
            per_step = median(setting[clock][rival]) / setting["steps"] * 1e6
            cells += [f"{per_step:,.0f}", _spread(ratios(setting, rival, clock), 3)]
        rows.append([*cells, f"{median(setting['cpu_seconds'][rival]):.2f}"])
    head = ["loop", "CPU us a step", "CPU ratio", "wall us a step", "wall ratio", "CPU s"]
    return "\n".join(_table(head, rows))


def _cold_title(row: dict[str, Any]) -> str:
    return f"From nothing, in a fresh process, {_where(row)}:"


def _cold(rows: list[dict[str, Any]]) -> str:
    head = ["loop", "import, CPU s", "first step, CPU s", "first step, s", "peak RSS, MiB"]
    on_gpu = rows[0]["peak_gpu_mib"] is not None
    table = [
        [
            row["rival"],
            f"{row['import_cpu_seconds']:.2f}",
            f"{row['first_step_cpu_seconds']:.2f}",
            f"{row['first_step_wall_seconds']:.2f}",
            f"{row['peak_rss_mib']:,.0f}",
            *([f"{row['peak_gpu_mib']:,.0f}"] if on_gpu else []),
        ]
        for row in rows
    ]
    return "\n".join(_table([*head, *(["peak on the GPU, MiB"] if on_gpu else [])], table))


def _where(setting: dict[str, Any]) -> str:
    if setting["device"] == "cuda":
        return "GPU"
    return "one thread" if setting["threads"] == 1 else f"{setting['threads']} threads"


def _clock(setting: dict[str, Any]) -> str:
    return "wall_seconds" if setting["device"] == "cuda" else "cpu_seconds"


def _spread(values: list[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
