"""The micro-batch of a real training: predicted, probed on the model itself, and put back."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import nn
from torch.optim import Optimizer

from mlexpert.training.memory.allocator import (
    SPLINTERING,
    give_back_at_once,
    is_steerable,
    keep_freed,
)
from mlexpert.training.memory.choose import MARGIN, choose
from mlexpert.training.memory.held import optimizers_of
from mlexpert.training.memory.measure import available_on, measure_peak
from mlexpert.training.memory.predict import Prediction, predict_peak
from mlexpert.training.memory.put_back import put_back
from mlexpert.training.memory.rehearse import Autocast, rehearse, two_pieces
from mlexpert.training.memory.sizing import Probe, Sizing
from mlexpert.training.method import Batch, Method
from mlexpert.training.oom import is_out_of_memory


def size_microbatch(
    model: nn.Module,
    method: Method,
    optimizer: Optimizer,
    batch: Batch,
    *,
    batch_size: int,
    width: int | None = None,
    autocast: Autocast = nullcontext,
    available: int | None = None,
    agree_min: Callable[[int], int] = lambda value: value,
) -> Sizing:
    """Choose the micro-batch by probes that leave no trace.

    On a CPU the C library gives freed memory back at once while probing, so that what is measured
    is what is needed. It stays so where training fits in no other way (`Sizing.tight`).

    Args:
        model: In place, not wrapped for several processes: a probe exchanges no gradients.
        method: After `begin_task`.
        optimizer: Over the model's parameters.
        batch: A global batch, drawn, on the model's device; of sequences, the longest.
        batch_size: Rows of the global batch, or of the largest share of any process.
        width: Length in tokens of that batch's sequences; None for inputs of one size.
        autocast: Makes the context of a forward pass.
        available: Bytes that may be taken; what the device has free where None.
        agree_min: Gives the least of all processes' values.

    Returns:
        A size that a probe confirmed, or `size` 0 where nothing fits.
    """
    on_gpu = batch.inputs.is_cuda
    predictions: dict[int, Prediction] = {}
    is_warm = False

    def predict(size: int) -> int | None:
        if size not in predictions:
            predictions[size] = predict_peak(
                model, method, optimizer, batch, size, width=width, autocast=autocast
            )
        return predictions[size].peak

    def probe(size: int) -> Probe:
        nonlocal is_warm
        if not is_warm and size < batch_size:
            # What libraries set up once would count for much in a small first probe.
            _once(model, method, optimizer, batch, size, width, autocast)
        is_warm = True
        return _once(model, method, optimizer, batch, size, width, autocast)

    if not on_gpu:
        give_back_at_once()
    tight = False
    try:
        with put_back(model, method, optimizer) as copied:
            model.train()
            predict(batch_size)  # the first takes address space for good, which is not free then
            free = available_on(batch.inputs.device) if available is None else available - copied
            sizing = choose(
                batch_size,
                available=max(0, free),
                predict=predict,
                probe=probe,
                exceptions_are_safe=on_gpu,
                agree_min=agree_min,
            )
        needed = SPLINTERING * (sizing.needed or 0)
        tight = is_steerable() and not on_gpu and needed > (1 - MARGIN) * sizing.available
    finally:
        if not on_gpu and not tight:
            keep_freed()
    why = sizing.why
    if tight and sizing.size:
        why += "; freed memory goes back to the system at once, which costs time"
    unpredicted = predictions[batch_size].reason
    return replace(sizing, width=width, tight=tight, why=why, unpredicted=unpredicted)


def predict_only(
    model: nn.Module,
    method: Method,
    optimizer: Optimizer,
    batch: Batch,
    *,
    width: int | None = None,
    autocast: Autocast = nullcontext,
) -> dict[int, Prediction]:
    """Predict the peak of micro-batches of 1, 8, 32, 128, ... rows and of the whole batch.

    Nothing is trained, and nothing of the arguments' size is allocated but their copy. The
    arguments are those of `size_microbatch`.

    Returns:
        The prediction for each number of rows, ascending.
    """
    sizes = [1, *(8 * 4**power for power in range(32)), len(batch)]
    with put_back(model, method, optimizer):
        model.train()
        return {
            size: predict_peak(
                model, method, optimizer, batch, size, width=width, autocast=autocast
            )
            for size in sorted({size for size in sizes if size <= len(batch)})
        }


def _once(
    model: nn.Module,
    method: Method,
    optimizer: Optimizer,
    batch: Batch,
    size: int,
    width: int | None,
    autocast: Autocast,
) -> Probe:
    def run() -> float:
        return rehearse(model, method, optimizer, batch, size, width=width, autocast=autocast)

    with _cleared(model, method, optimizer):
        try:
            seconds, peak = measure_peak(run, batch.inputs.device)
            return Probe(size, fits=True, measured=peak, row_seconds=seconds)
        except (RuntimeError, ValueError, MemoryError) as error:
            smallest = len(two_pieces(batch, size, width)[0])
            lonely = smallest == 1 < len(batch) and "more than 1 value per channel" in str(error)
            if not lonely and not is_out_of_memory(error):
                raise
    gc.collect()  # outside of the `except` frame, whose traceback holds on to tensors
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return Probe(size, fits=False, too_few_rows=lonely)


@contextmanager
def _cleared(model: nn.Module, method: Method, optimizer: Optimizer) -> Iterator[None]:
    """Let go of gradients and optimiser state that were not there before."""
    stateless = [each for each in optimizers_of(optimizer) if not each.state]
    try:
        yield
    finally:
        for parameter in (*model.parameters(), *method.parameters()):
            parameter.grad = None
        for each in stateless:
            each.state.clear()
