"""Accuracy on corrupted images: what happens by itself, beside what an attacker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.attacked import attacked, logits_at
from mlexpert.blocks.corruptions.brightness import brightness
from mlexpert.blocks.corruptions.gaussian_blur import gaussian_blur
from mlexpert.blocks.corruptions.gaussian_noise import gaussian_noise
from mlexpert.blocks.corruptions.jpeg import jpeg
from mlexpert.blocks.corruptions.severity import SEVERITIES

NAMES = ("gaussian_noise", "gaussian_blur", "brightness", "jpeg")


def corruption_accuracy(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int, batch_size: int
) -> tuple[dict[str, Any], ...]:
    """Return the accuracy under each corruption and severity.

    Args:
        model: Maps images to logits (B, K); left as it was.
        inputs: (N, C, H, W) in [0, 1], of one channel or three; of others nothing is returned.
        targets: (N,) class indices.
        seed: Of the noise.
        batch_size: Rows that are looked at together.

    Returns:
        Rows of "name", "severity", "accuracy" and "rows".
    """
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
        return ()
    ids, found = torch.arange(len(inputs), device=inputs.device), []
    with attacked(model):
        for name in NAMES:
            for severity in SEVERITIES:
                corrupt = _corrupted(name, severity, seed)
                right = [
                    logits_at(model, corrupt(inputs[rows], rows)).argmax(dim=1) == targets[rows]
                    for rows in ids.split(batch_size)
                ]
                accuracy = float(torch.cat(right).double().mean())
                about = {"name": name, "severity": severity}
                found.append({**about, "accuracy": accuracy, "rows": len(inputs)})
    return tuple(found)


def _corrupted(name: str, severity: int, seed: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what maps images (B, C, H, W) and their places (B,) to corrupted ones."""
    if name == "gaussian_noise":
        return lambda images, rows: gaussian_noise(images, severity, seed=seed, ids=rows)
    corrupt = {"gaussian_blur": gaussian_blur, "brightness": brightness, "jpeg": jpeg}[name]
    return lambda images, rows: corrupt(images, severity)
