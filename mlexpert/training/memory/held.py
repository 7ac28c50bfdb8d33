"""The tensors, modules and optimisers that a training step may change."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.training.method import Batch, Method


def modules_of(model: nn.Module, method: Method) -> list[nn.Module]:
    """Return every module of both, each once."""
    return list(
        {id(module): module for root in (model, method) for module in root.modules()}.values()
    )


def optimizers_of(optimizer: Optimizer) -> list[Optimizer]:
    """Return an optimiser and those that it wraps, such as the one inside of SAM."""
    found = [optimizer]
    for each in found:
        inner = [value for value in vars(each).values() if isinstance(value, Optimizer)]
        found += [value for value in inner if not any(value is known for known in found)]
    return found


def tensors_of(model: nn.Module, method: Method, optimizer: Optimizer) -> list[Tensor]:
    """Return every tensor that they hold outside of a step, each once.

    Parameters, buffers, tensors and batches that are plain attributes, and what optimisers keep.
    """
    return list({id(tensor): tensor for tensor in _all_tensors(model, method, optimizer)}.values())


def generators_of(model: nn.Module, method: Method) -> list[torch.Generator]:
    """Return the random generators that are attributes of modules."""
    return [
        value
        for module in modules_of(model, method)
        for value in vars(module).values()
        if isinstance(value, torch.Generator)
    ]


def _all_tensors(model: nn.Module, method: Method, optimizer: Optimizer) -> Iterator[Tensor]:
    for module in modules_of(model, method):
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)
        for value in vars(module).values():
            if isinstance(value, Batch):
                yield from (column for column in vars(value).values() if column is not None)
            elif isinstance(value, Tensor):
                yield value
    for each in optimizers_of(optimizer):
        for held in (*each.state.values(), *each.param_groups):
            yield from (value for value in held.values() if isinstance(value, Tensor))
