"""Two optimiser steps as training makes them: what is predicted, and what is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.optim import Optimizer

from mlexpert.training.method import Batch, Method
from mlexpert.training.pieces import rows_of_a_piece

Autocast = Callable[[], AbstractContextManager]


def rehearse(
    model: nn.Module,
    method: Method,
    optimizer: Optimizer,
    batch: Batch,
    size: int,
    *,
    width: int | None = None,
    autocast: Autocast = nullcontext,
) -> float:
    """Make two optimiser steps of micro-batches of at most `size` rows.

    The second step is the one that counts: by then the optimiser has its state. A step takes two
    micro-batches at the most, the last and then the first of the batch: the last is the smallest,
    which a BatchNorm may refuse, and the first, the largest, meets the gradients of another.

    Args:
        model: Its weights move.
        method: Its loss and `after_backward` are called.
        optimizer: Over the model's parameters; no schedule moves.
        batch: The global batch, drawn.
        size: Most rows of a micro-batch.
        width: Length in tokens for which `size` rows are allowed; None for inputs of one size.
        autocast: Makes the context of a forward pass.

    Returns:
        Seconds for each row of the second step; on a CPU seconds of its time.
    """
    parts = two_pieces(batch, size, width)
    for _ in range(2):
        started = _now(batch)
        optimizer.zero_grad(set_to_none=True)
        for piece in parts:
            with autocast():
                total = method.loss(model, piece).total
            (total / float(len(batch))).backward()
            del total  # or its graph would stay until the next loss is there
        method.after_backward(model)
        optimizer.step()
    return (_now(batch) - started) / sum(map(len, parts))


def two_pieces(batch: Batch, size: int, width: int | None = None) -> list[Batch]:
    """Return the last and the first of the micro-batches, or the only one.

    They are cut as `pieces` does, which would make all of them.
    """
    count = -(-len(batch) // min(len(batch), rows_of_a_piece(size, width, batch)))
    if count == 1:
        return [batch]
    last, first = len(batch) // count, -(-len(batch) // count)
    return [batch.map(lambda column: column[-last:]), batch.map(lambda column: column[:first])]


def _now(batch: Batch) -> float:
    if batch.inputs.is_cuda:
        torch.cuda.synchronize(batch.inputs.device)
        return time.perf_counter()
    return time.process_time()  # what else the machine is busy with does not count
