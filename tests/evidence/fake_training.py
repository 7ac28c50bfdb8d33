"""A made-up but realistic record of how a run was trained, in several situations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
SHORT = ("stem.conv", "layer1.conv", "layer1.norm", "layer2.conv", "layer2.norm", "head")
LONG = (
    "embed.tokens",
    *(
        f"encoder.blocks.{block}.{part}"
        for block in range(12)
        for part in ("norm1", "attention.qkv", "attention.out", "norm2", "mlp.up", "mlp.down")
    ),
    "head.norm",
    "head",
)
TRIED = {
    "precision": "bf16",
    "channels_last": False,
    "why": "bf16: bf16 is 1.71 times as fast",
    "trials": [
        {
            "arithmetic": {"precision": "fp32", "channels_last": False},
            "seconds": 0.1123, "loss": 2.3026, "loss_change": 0.0, "cosine": 1.0, "error": "",
        },
        {
            "arithmetic": {"precision": "bf16", "channels_last": False},
            "seconds": 0.0657, "loss": 2.3031, "loss_change": 0.0002, "cosine": 0.9962,
            "error": "",
        },
    ],
}  # fmt: skip
REFUSED = {
    "precision": "fp32",
    "channels_last": False,
    "why": "fp32: bf16 failed (RuntimeError: <not> implemented for 'BFloat16')",
    "trials": [
        TRIED["trials"][0],
        {
            "arithmetic": {"precision": "bf16", "channels_last": False},
            "error": "RuntimeError: <not> implemented for 'BFloat16'",
        },
    ],
}
WHOLE = {
    "size": 128, "batch_size": 128, "available": 7012 * MIB, "needed": 412 * MIB,
    "predicted": 405 * MIB, "measured": 412 * MIB, "error_percent": -1.7, "width": None,
    "tight": False, "checkpointing": False, "unpredicted": "",
    "why": "the whole batch of 128 fits: 412 MiB of 7,012 MiB",
    "probes": [
        {"size": 128, "fits": True, "measured": 412 * MIB, "row_seconds": 1e-3,
         "predicted": 405 * MIB, "expected": 405 * MIB, "too_few_rows": False},
    ],
}  # fmt: skip
CUT = {
    **WHOLE,
    "size": 32, "available": 640 * MIB, "needed": 480 * MIB, "predicted": 476 * MIB,
    "measured": 480 * MIB, "error_percent": -0.8, "width": 256, "checkpointing": True,
    "why": "micro-batches of 32 of 128 rows fit: 480 MiB of 640 MiB; the whole batch would take "
    "1,830 MiB",
    "probes": [
        {"size": 1, "fits": False, "measured": None, "row_seconds": 0.0,
         "predicted": 61 * MIB, "expected": 61 * MIB, "too_few_rows": True},
        {"size": 8, "fits": True, "measured": 139 * MIB, "row_seconds": 2e-3,
         "predicted": 121 * MIB, "expected": 121 * MIB, "too_few_rows": False},
        {"size": 32, "fits": True, "measured": 480 * MIB, "row_seconds": 1e-3,
         "predicted": 415 * MIB, "expected": 476 * MIB, "too_few_rows": False},
    ],
    "cut": {"size": 16, "width": 256, "checkpointing": True, "retries": 1},
    "error": "DefaultCPUAllocator: <can't> allocate memory",
}  # fmt: skip
PROFILE = {
    "device": "cpu", "threads": 2, "skipped_steps": 5, "num_steps": 20, "seconds": 0.8,
    "phases": [
        {"phase": phase, "seconds": 0.8 * share, "share": share, "ms_per_step": 40 * share}
        for phase, share in (
            ("data", 0.06), ("forward", 0.31), ("backward", 0.52), ("optimizer", 0.08),
            ("other", 0.03),
        )
    ],
    "traced_steps": 5,
    "operators": [
        {"operator": f"aten::{name}", "calls": calls, "self_cpu_ms_per_step": ms,
         "self_device_ms_per_step": 0.0}
        for name, calls, ms in (
            ("convolution_backward", 45, 18.1), ("mkldnn_convolution", 45, 10.4),
            ("native_batch_norm_backward", 45, 3.2), ("native_batch_norm", 45, 1.9),
            ("threshold_backward", 35, 0.9), ("addmm", 5, 0.2),
        )
    ],
}  # fmt: skip


def change(run_dir: Path, *, names: tuple[str, ...] = (), profile: bool = False, **facts) -> None:
    """Add records to a run folder: of these layers, of a profile, and of `run.json`'s facts."""
    run = json.loads((run_dir / "run.json").read_text())
    run["environment"] = run.get("environment", {}) | facts.pop("environment", {})
    (run_dir / "run.json").write_text(json.dumps(run | facts))
    if names:
        lines = [json.dumps(line) + "\n" for line in _health(names)]
        (run_dir / "health.jsonl").write_text("".join(lines))
    if profile:
        (run_dir / "profile").mkdir()
        (run_dir / "profile" / "profile.json").write_text(json.dumps(PROFILE))


def _health(names: tuple[str, ...], epochs: int = 24) -> list[dict[str, Any]]:
    """Return ratios about 1e-3; the second layer stops moving and the last one moves too far."""
    rng = np.random.default_rng(0)
    usual = 10 ** rng.normal(-3.0, 0.35, len(names))
    rows = []
    for epoch in range(1, epochs + 1):
        ratios = usual * np.cos(epoch / epochs * 1.5) * 10 ** rng.normal(0.0, 0.1, len(names))
        if epoch == 1:
            ratios = np.zeros(len(names))
        if len(names) > len(SHORT):
            ratios[1] *= 10.0 ** -min(epoch / 3, 4)
            ratios[-1] = 0.02 * epoch**0.7
        layers = [
            {"layer": name, "gradient_norm": 0.1 * ratio * 900, "weight_norm": 4.0 + number % 5,
             "update_ratio": ratio}
            for number, (name, ratio) in enumerate(zip(names, ratios.tolist(), strict=True))
        ]  # fmt: skip
        layers[0]["update_ratio"] = layers[0]["update_ratio"] if epoch > 2 else None
        rows.append({"step": (epoch - 1) * 35 + 1, "epoch": epoch, "layers": layers})
    return rows


def went_well(run_dir: Path) -> None:
    """Add the record of a run that fitted into memory and was profiled."""
    here = {"processes": 1, "sharded": False}
    facts = {"arithmetic": TRIED, "memory": WHOLE, "environment": here}
    change(run_dir, names=SHORT, profile=True, **facts)


def went_badly(run_dir: Path) -> None:
    """Add the record of two processes that ran out of memory, with layers that stand out."""
    here = {"processes": 2, "sharded": False}
    change(run_dir, names=LONG, arithmetic=REFUSED, memory=CUT, environment=here)


KINDS = {"fashion": went_well, "binary": went_badly}
"""What `fake_run.py` adds to its kinds of runs when they are to be looked at."""
