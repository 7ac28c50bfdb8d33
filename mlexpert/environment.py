"""What a run ran on: the machine, and the versions of what matters to its result."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

RELEVANT = (
    "mlexpert", "torch", "torchvision", "accelerate", "safetensors", "numpy", "pandas",
    "scikit-learn", "datasets", "timm", "transformers", "tokenizers",
)  # fmt: skip


def packages() -> dict[str, str]:
    """Return the installed versions of the packages that a result depends on."""
    found = {}
    for name in RELEVANT:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, str | int | None]:
    """Return the interpreter, the platform and the processors."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")),
                "",
            )
    except OSError:
        return platform.processor()
