"""What a run ran on: the machine, and the versions of what matters to its result."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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


def processor_has_bf16() -> bool:
    """Return whether the processor has instructions for bf16, or none where torch cannot say.

    Without them torch makes up for it, in ten times fp32's time and more.
    """
    has: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(has.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")),
                "",
            )
    except OSError:
        return platform.processor()
