"""The last resort where one row does not fit: activations are computed again instead of kept.

Paper: Chen et al. 2016, arXiv:1604.06174. A block keeps its inputs alone and runs a second time in
backward; a plain chain of n layers is cut into runs of about the square root of n (section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from mlexpert.blocks.repeated_blocks import repeated_blocks


def checkpoint_blocks(model: nn.Module) -> list[str]:
    """Make the model's repeated blocks recompute their activations in backward.

    Loss, gradients and buffers stay what they are; a step pays a second forward pass. Only the
    blocks' `forward` is overridden, so names, weights and types stay too, and a deep copy computes
    with its own weights. In eval mode and without gradients nothing is different.

    Args:
        model: Changed in place. A block whose `forward` somebody else has overridden is left alone.

    Returns:
        The names of what is recomputed, as `get_submodule` takes them: blocks, and plain
        `Sequential` chains of layers. Empty where there is nothing of the kind.

    Raises:
        RuntimeError: Later, in backward, if a block's input was changed in place after it went in.
    """
    blocks = repeated_blocks(model)
    chains = {
        name: module
        for name, module in model.named_modules()
        if _is_chain(module) and not any(f"{name}.".startswith(f"{block}.") for block in blocks)
    }
    found: list[str] = []
    for modules, forward in ((blocks, _recomputed), (chains, _recomputed_in_runs)):
        for name, module in modules.items():
            if "forward" not in vars(module) or _is_ours(module):
                # Bound to the module, so that a deep copy's is bound to the copy.
                vars(module)["forward"] = MethodType(forward, module)
                found.append(name)
    return found


def uncheckpoint(model: nn.Module) -> None:
    """Undo `checkpoint_blocks`."""
    for module in model.modules():
        if _is_ours(module):
            del vars(module)["forward"]


def _recomputed(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = MethodType(type(block).forward, block)
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return _uncompiled()(block, forward, *args, **kwargs)


def _recomputed_in_runs(chain: nn.Sequential, inputs: Any) -> Any:
    if not (chain.training and torch.is_grad_enabled()):
        return nn.Sequential.forward(chain, inputs)
    layers = list(chain)
    # A run starts at a layer with weights: an activation may change its input in place.
    starts = [index for index, layer in enumerate(layers) if _has_weights(layer)]
    starts = starts[:: math.ceil(math.sqrt(len(starts)))]
    for layer in layers[: starts[0]]:
        inputs = layer(inputs)
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        run = nn.Sequential(*layers[start:end])
        inputs = _uncompiled()(run, run, inputs)
    return inputs


@cache
def _uncompiled() -> Callable[..., Any]:
    """Return `_checkpoint`, never compiled: that takes no context of ours into the second run.

    Only when it is first called, for torch imports its compiler to say so.
    """
    return torch.compiler.disable(_checkpoint)


def _checkpoint(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    # torch looks for random states to keep, and for inputs that were changed in place, only among
    # tensors that are positional arguments.
    leaves, structure = tree_flatten((args, kwargs))

    def run(*leaves: Any) -> Any:
        args, kwargs = tree_unflatten(leaves, structure)
        return forward(*args, **kwargs)

    return checkpoint(
        run,
        *leaves,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _buffers_kept(block)),
    )


@contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    """Let the block write to copies of its buffers: running statistics move once a step."""
    kept = [
        (module, name, buffer)
        for module in block.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    for module, name, buffer in kept:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in kept:
            setattr(module, name, buffer)


def _is_chain(module: nn.Module) -> bool:
    """Say whether this is a `Sequential` of layers without parts, of which several have weights."""
    return (
        type(module).forward is nn.Sequential.forward
        and sum(map(_has_weights, module.children())) > 1
        and not any(next(layer.children(), None) is not None for layer in module.children())
    )


def _has_weights(layer: nn.Module) -> bool:
    return next(layer.parameters(), None) is not None


def _is_ours(module: nn.Module) -> bool:
    forward = vars(module).get("forward")
    return isinstance(forward, MethodType) and forward.__func__ in (
        _recomputed,
        _recomputed_in_runs,
    )
