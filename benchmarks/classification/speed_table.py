"""The part of the page on what an epoch costs."""

from __future__ import annotations

import pandas as pd

TITLES = {
    "speed-images": "image-cls on 10,000 images of CIFAR-10",
    "speed-tables": "tabular-cls on adult's training rows",
}
LOOP = "DataLoader loop"


def speed_section(frame: pd.DataFrame) -> list[str]:
    """Return the section, or nothing where no speed was measured."""
    parts = []
    for case, title in TITLES.items():
        lines = frame[frame["task"] == case]
        if len(lines):
            parts += [f"### {title}", _table(lines)]
    if not parts:
        return []
    return [
        "## Seconds of an epoch",
        "The same network and batch size: ours by the trainer, and in a loop with a DataLoader in "
        "fp32 (of images with two workers and torchvision's transforms of single images; of tables "
        "over a TensorDataset of the encoded rows). In turn, each in a process of its own, medians "
        "over rounds; CPU seconds include the workers'. Times as fast: the loop's CPU seconds by "
        "those of the row, median over rounds, of each machine by itself.",
        *parts,
    ]


def _table(lines: pd.DataFrame) -> str:
    text = [
        "| loop | rounds | CPU s | wall s | rows per CPU s | times as fast (range) | on |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for machine, rounds in lines.groupby("machine", sort=False):
        seconds = rounds.pivot(index="seed", columns="method", values="cpu_seconds")
        for method, own in rounds.groupby("method", sort=False):
            cpu = own["cpu_seconds"].median()
            rate = own["epoch_rows"].iloc[0] / cpu
            ratio = seconds[LOOP] / seconds[method]
            text.append(
                f"| {method} | {len(own)} | {cpu:,.1f} | {own['wall_seconds'].median():,.1f} | "
                f"{rate:,.0f} | {ratio.median():.2f} ({ratio.min():.2f} to {ratio.max():.2f}) | "
                f"{machine} |"
            )
    return "\n".join(text)
