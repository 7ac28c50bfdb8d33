"""Training steps that leave no trace."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from mlexpert.training.memory.held import generators_of, modules_of, optimizers_of, tensors_of
from mlexpert.training.method import Method


@contextmanager
def put_back(model: nn.Module, method: Method, optimizer: Optimizer) -> Iterator[int]:
    """Put all back as it was when the context ends, also by an error; give the bytes of the copy.

    Bit for bit: weights, gradients, buffers, plain attributes, what the optimiser keeps, and the
    states of torch's, NumPy's and Python's random generators. Lists and dicts that a method changes
    in place are not followed.

    Args:
        model: Its state is copied; the copy takes memory on its device.
        method: Likewise.
        optimizer: Likewise; before a training it has no state, and then has none again.
    """
    tensors = [(tensor, tensor.detach().clone()) for tensor in tensors_of(model, method, optimizer)]
    gradients = [(p, p.grad) for root in (model, method) for p in root.parameters()]
    spaces = [space for module in modules_of(model, method) for space in _spaces(module)]
    optimizers = [
        (each, dict(vars(each)), _shallow(each.state), [dict(group) for group in each.param_groups])
        for each in optimizers_of(optimizer)
    ]
    generators = [(each, each.get_state()) for each in generators_of(model, method)]
    rng = _random_states()
    try:
        yield sum(value.nbytes for _, value in tensors)
    finally:
        for space, names in spaces:
            _refill(space, names)
        for each, names, state, groups in optimizers:
            _refill(vars(each), names)
            _refill(each.state, state)
            for group, kept in zip(each.param_groups, groups, strict=True):
                _refill(group, kept)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for tensor, value in tensors:
                if not torch.equal(tensor, value):  # an expanded buffer cannot be written to
                    tensor.copy_(value)
        for generator, seen in generators:
            generator.set_state(seen)
        _set_random_states(rng)


def _spaces(module: nn.Module) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the dicts of names of a module, each with a copy."""
    spaces = [vars(module), module._parameters, module._buffers, module._modules]
    return [(space, dict(space)) for space in spaces]


def _shallow(state: dict) -> dict:
    return {parameter: copy.copy(kept) for parameter, kept in state.items()}


def _refill(space: dict, names: dict) -> None:
    space.clear()
    space.update(names)


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
