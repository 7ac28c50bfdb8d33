"""What a model says of rows: each row once, whatever the memory and the number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mlexpert.data.batches import Store, batches, row_lengths
from mlexpert.training.oom import is_out_of_memory
from mlexpert.training.processes import Processes

LARGEST = 512
"""Rows that are looked at together."""


@torch.inference_mode()
def logits_of(
    model: nn.Module,
    store: Store,
    device: torch.device,
    index: Tensor | None = None,
    *,
    rows: int = LARGEST,
    processes: Processes | None = None,
    may_halve: bool = True,
) -> Tensor:
    """Return the model's logits (N, K), in fp32 and in eval mode, on the CPU.

    Args:
        model: In place on `device`; it is left in eval mode.
        store: The encoded rows.
        device: Where the model is.
        index: (N,) rows to look at; all where None.
        rows: Rows that are looked at together; fewer where memory runs out.
        processes: They share the rows; each is returned the logits of all. None: this one alone.
        may_halve: Whether this process may make more passes than the others.
    """
    model.eval()
    index = torch.arange(len(store)) if index is None else index
    if processes is None or processes.count == 1:
        order = _by_length(store, index)
        passes = _passes(model, store, device, index[order].split(rows), may_halve)
        return torch.cat(list(passes))[order.argsort()]
    sizes = [len(part) for part in index.tensor_split(processes.count)]
    share = index[processes.share(len(index))]
    order = _by_length(store, share)
    # All make as many passes, of a row at least: a sharded model exchanges its weights in each.
    own = share[order].tensor_split(-(-max(sizes) // rows))
    cuts = [cut if len(cut) else index[:1] for cut in own]
    passes = _passes(model, store, device, cuts, may_halve)
    mine = torch.cat([logits[: len(cut)] for logits, cut in zip(passes, own, strict=True)])
    return processes.gather_rows(mine[order.argsort()], sizes)


def _by_length(store: Store, index: Tensor) -> Tensor:
    """Return the order (B,) of rows in which those of a pass are of like length."""
    lengths = row_lengths(store)
    return torch.arange(len(index)) if lengths is None else lengths[index].argsort(stable=True)


def _passes(
    model: nn.Module,
    store: Store,
    device: torch.device,
    cuts: Sequence[Tensor],
    may_halve: bool,
) -> Iterator[Tensor]:
    nobody = torch.zeros(len(store), dtype=torch.long)  # rows to predict have no targets
    for inputs, _, _ in batches(store, nobody, list(cuts)):
        yield _forward(model, inputs.to(device), may_halve).float().cpu()


def _forward(model: nn.Module, inputs: Tensor, may_halve: bool) -> Tensor:
    """Return the logits, of one half after the other where memory does not reach for both."""
    try:
        return model(inputs)
    except (RuntimeError, MemoryError) as error:
        if not (may_halve and is_out_of_memory(error)) or len(inputs) == 1:
            raise
    return torch.cat([_forward(model, half, may_halve) for half in inputs.tensor_split(2)])
