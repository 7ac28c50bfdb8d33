"""The sum of changed gradients of single rows, for the linear layers of a model.

A row's gradient is the outer product of what comes in, a, and the gradient of what goes out, g: the
sum of its squares over the rows is (g^2)^T (a^2), one product for a whole batch.

Paper: Goodfellow 2015, arXiv:1510.01799.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
"""`torch.square` or `torch.abs`: of a product it has to be the product of both."""

NUMBERS = 2**25
"""Of the gradients that are held at a time."""


def row_wise_layers(model: nn.Module, inputs: Tensor) -> list[nn.Linear]:
    """Return the linear layers that a pass calls once, with as many rows as the model is given.

    It is tried with one row and with two, which no other dimension can follow by chance.
    """
    owners = Counter(id(p) for part in model.modules() for p in part.parameters(recurse=False))
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear and layer.weight.requires_grad
        if all(owners[id(p)] == 1 for p in layer.parameters())
    ]
    calls: dict[nn.Linear, list[int]] = {layer: [] for layer in layers}

    def note(layer: Any, args: tuple[Tensor, ...]) -> None:
        calls[layer].append(len(args[0]) if args[0].ndim > 1 else 0)

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            for rows in (1, 2):
                model(inputs[:1].expand(rows, *inputs.shape[1:]))
    finally:
        for hook in hooks:
            hook.remove()
    return [layer for layer in layers if calls[layer] == [1, 2]]


def gradients_of_linear(
    model: nn.Module, layers: list[nn.Linear], inputs: Tensor, along: Tensor, change: Change
) -> dict[str, Tensor]:
    """Return the sums over rows and directions, from one backward pass a direction.

    Args:
        model: In eval mode.
        layers: Some that `row_wise_layers` returned.
        inputs: (B, ...).
        along: (D, B, ...) directions of the logits (B, ...).
        change: `torch.square` or `torch.abs`.

    Returns:
        A tensor for each parameter of the layers that requires a gradient, by its name in the
        model.
    """
    if not layers:
        return {}
    seen: dict[nn.Linear, tuple[Tensor, Tensor]] = {}

    def keep(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen[layer] = args[0].detach(), output
        return output.clone()  # what comes next may work in place

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.enable_grad():
            logits = model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    sums: dict[str, Tensor] = {}
    outputs = [seen[layer][1] for layer in layers]
    for direction in along:
        grads = torch.autograd.grad(
            logits, outputs, direction, retain_graph=True, materialize_grads=True
        )
        for layer, grad in zip(layers, grads, strict=True):
            for parameter, value in zip(
                layer.parameters(), _outer(seen[layer][0], grad, change), strict=False
            ):
                if parameter.requires_grad:
                    name = names[id(parameter)]
                    sums[name] = value + sums.get(name, 0)
    return sums


def _outer(inputs: Tensor, grad: Tensor, change: Change) -> tuple[Tensor, Tensor]:
    """Return the sums over rows of a linear layer's changed gradients, of weight and bias."""
    if inputs.ndim == 2:
        return change(grad).T @ change(inputs), change(grad).sum(0)
    inputs, grad = inputs.flatten(1, -2), grad.flatten(1, -2)  # (B, T, I), (B, T, O)
    rows = max(1, NUMBERS // (inputs.shape[-1] * grad.shape[-1]))
    weight = sum(
        change(g.transpose(1, 2) @ a).sum(0)
        for a, g in zip(inputs.split(rows), grad.split(rows), strict=True)
    )
    assert isinstance(weight, Tensor), "there is a row"
    return weight, change(grad.sum(1)).sum(0)
