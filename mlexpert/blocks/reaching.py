"""Features: what reaches the last layer of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def reaching(layer: nn.Module, model: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a layer of a model is given for these inputs, as (B, F) or (B, M, F).

    Args:
        layer: Part of the model that runs once in a pass.
        model: In the mode in which the features are wanted.
        inputs: As in `Batch.inputs`.
    """
    found: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, arguments: found.append(arguments[0]))
    try:
        model.forward(inputs)  # not called: of a compiled model, hooks that come later are not run
    finally:
        hook.remove()
    return found[0]
