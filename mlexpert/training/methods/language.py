"""Learning a language: the cross-entropy of every next token."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.training.method import Batch, Examined, Loss, Method


class NextToken(Method):
    """The sum of the cross-entropies of next tokens, over their number.

    A batch has windows (B, T + 1) of tokens, and as targets how many of the last tokens of each are
    scored; in training, all are.
    """

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the sum over all tokens of a micro-batch."""
        logits = model(batch.inputs[:, :-1])
        nats = F.cross_entropy(
            logits.flatten(0, 1).float(), batch.inputs[:, 1:].flatten(), reduction="sum"
        )
        return Loss(nats, batch.inputs[:, 1:].numel())

    def examine(self, model: nn.Module, rows: Iterator[Batch]) -> Examined:
        """Return the loss of all tokens that are scored, each once."""
        total, count = 0.0, 0
        for batch in rows:
            total += float(nats_of(model, batch.inputs, batch.targets).sum())
            count += int(batch.targets.sum())
        return Examined({"loss": total / count})


@torch.inference_mode()
def nats_of(model: nn.Module, windows: Tensor, scored: Tensor) -> Tensor:
    """Return what each next token costs, in nats (B, T) float64; 0 where it is not scored.

    Args:
        model: Maps tokens (B, T) to logits (B, T, V).
        windows: (B, T + 1) tokens.
        scored: (B,) how many of the last tokens of each window are scored.
    """
    logits = model(windows[:, :-1]).float()
    nats = F.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none").double()
    return nats.masked_fill(~is_scored(windows.shape[1] - 1, scored), 0.0)


def is_scored(length: int, scored: Tensor) -> Tensor:
    """Return (B, T) bool, True at the last `scored` (B,) of T places."""
    return torch.arange(length, device=scored.device) >= length - scored[:, None]
