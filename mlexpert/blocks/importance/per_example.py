"""Sums of squares, or of absolute values, over the gradients of single rows.

A gradient of a batch is a sum in which rows cancel. What is wanted here is taken of every row's own
gradient, and so is the same however rows are batched.

Those of linear layers take one product for a whole batch. Others are made for many rows at once,
and row by row where a model does not allow that.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from mlexpert.blocks.importance.linear_layers import (
    NUMBERS,
    Change,
    gradients_of_linear,
    row_wise_layers,
)
from mlexpert.errors import InputError


@torch.no_grad()
def mean_of_gradients(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    directions: Callable[[Tensor, Tensor], Tensor],
    change: Change,
) -> dict[str, Tensor]:
    """Return the mean over rows of the sum over directions of changed gradients.

    Args:
        model: In eval mode, returns logits (B, ...) of inputs, each row's from that row alone.
        batches: Inputs (B, ...) and targets (B,), on the model's device.
        directions: Makes (D, B, ...) of logits (B, ...) and targets: the gradients are those of
            the inner product of a row's logits with each of its D directions.
        change: `torch.square` or `torch.abs`.

    Returns:
        A tensor of its shape for each parameter that requires a gradient, by name.

    Raises:
        InputError: If the model is in training mode, or there are no rows.
    """
    if model.training:
        raise InputError(
            "The model is in training mode, in which BatchNorm mixes rows and dropout draws; "
            "call model.eval() first."
        )
    linear: list[nn.Linear] | None = None
    sums = {n: p.new_zeros(p.shape, dtype=torch.float64) for n, p in _trained(model).items()}
    count = 0
    with torch.compiler.set_stance("force_eager"):  # what is compiled has no layers to look into
        for inputs, targets in batches:
            along = directions(model(inputs), targets)
            linear = row_wise_layers(model, inputs) if linear is None else linear
            for part in (
                gradients_of_linear(model, linear, inputs, along, change),
                _of_others(model, linear, inputs, along, change),
            ):
                for name, value in part.items():
                    sums[name] += value
            count += len(targets)
    if not count:
        raise InputError("There are no rows to take gradients of; give at least one batch.")
    return {name: (sums[name] / count).to(p.dtype) for name, p in _trained(model).items()}


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _of_others(
    model: nn.Module, layers: list[nn.Linear], inputs: Tensor, along: Tensor, change: Change
) -> dict[str, Tensor]:
    """Return the sums of all parameters but those of `layers`."""
    done = {id(parameter) for layer in layers for parameter in layer.parameters()}
    others = {name: p for name, p in _trained(model).items() if id(p) not in done}
    if not others:
        return {}

    def of_row(row: Tensor, directions: Tensor) -> dict[str, Tensor]:
        def logits(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(model, parameters, (row[None],))

        pull = vjp(logits, {name: p.detach() for name, p in others.items()})[1]
        pulled = [pull(direction[None])[0] for direction in directions]
        return {name: sum(change(one[name]) for one in pulled) for name in others}  # type: ignore

    rows = max(1, NUMBERS // sum(p.numel() for p in others.values()))
    sums: dict[str, Tensor] = {}
    for some, directions in zip(inputs.split(rows), along.split(rows, dim=1), strict=True):
        try:
            with _batched_attention():
                part = {n: v.sum(0) for n, v in vmap(of_row, (0, 1))(some, directions).items()}
        except (RuntimeError, ValueError):  # an operation that has no rule for many rows at once
            part = _row_by_row(model, others, some, directions, change)
        for name, value in part.items():
            sums[name] = value + sums.get(name, 0)
    return sums


@contextmanager
def _batched_attention() -> Iterator[None]:
    """Compute attention by operations that work on many rows at once, its fused kernels do not."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # All is said of speed: whatever else a model has to say, it has said in a pass before.
        warnings.simplefilter("ignore", UserWarning)
        yield


def _row_by_row(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    inputs: Tensor,
    along: Tensor,
    change: Change,
) -> dict[str, Tensor]:
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for row in range(len(inputs)):
        with torch.enable_grad():
            logits = model(inputs[row : row + 1])
        for direction in along[:, row : row + 1]:
            grads = torch.autograd.grad(
                logits,
                list(parameters.values()),
                direction,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for name, grad in zip(parameters, grads, strict=True):
                sums[name] += change(grad)
    return sums
