"""Weight decay where it belongs, and learning rates that fall with depth.

Norms and biases are not decayed; matrices and kernels are.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from timm.models import group_parameters
from torch import nn

from mlexpert.blocks.repeated_blocks import repeated_blocks
from mlexpert.errors import InputError


def layerwise_groups(
    model: nn.Module, *, lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Return parameter groups whose learning rate falls from the head down to the embeddings.

    The head has the rate lr, and what lies k blocks below it lr * layer_decay^k: pretrained layers
    move less the more general they are.

    Papers: Clark et al. 2020, arXiv:2003.10555, appendix B (ELECTRA: 0.8, or 0.9 where large); Bao
    et al. 2021, arXiv:2106.08254 (BEiT).

    Args:
        model: Its parameters that require a gradient are grouped. A timm model says itself how deep
            each lies. In others depth counts the repeated blocks: embeddings and stem stand before
            the first of them, and all that stands behind the last is the head.
        lr: Learning rate of the head.
        weight_decay: Decay of parameters of two dimensions and more; others have none.
        layer_decay: Factor from one block to the next below, in (0, 1].

    Returns:
        Groups as `torch.optim` takes them, from the head down; for every rate the decayed ones
        first. With a factor of 1 there are two: decayed, and not.

    Raises:
        ValueError: If `layer_decay` is outside (0, 1].
        InputError: If it is below 1 and the model has no blocks one behind another.
    """
    if not 0.0 < layer_decay <= 1.0:
        raise ValueError(f"layer_decay is a factor in (0, 1], got {layer_decay}")
    depths = _depths(model)
    top = max(depths.values(), default=0)
    if layer_decay < 1.0 and top == 0:
        raise InputError(
            f"layer_decay={layer_decay} lowers the rate from block to block, and this network has "
            "no blocks one behind another. Leave it at 1."
        )
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = lr * layer_decay ** (top - depths[name])
            groups.setdefault((rate, parameter.ndim >= 2), []).append(parameter)
    return [
        {"params": groups[key], "lr": key[0], "weight_decay": weight_decay if key[1] else 0.0}
        for key in sorted(groups, reverse=True)
    ]


@runtime_checkable
class _TimmModel(Protocol):
    def group_matcher(self, coarse: bool) -> Any: ...


def _depths(model: nn.Module) -> dict[str, int]:
    """Return how deep every parameter lies, by name: 0 is the stem, the largest number the head."""
    for path, module in model.named_modules():
        if isinstance(module, _TimmModel):
            backbone, prefix = model.get_submodule(path), f"{path}." if path else ""
            found = group_parameters(backbone, module.group_matcher(coarse=False), reverse=True)
            own = {f"{prefix}{name}": depth for name, depth in found.items()}
            top = max(own.values(), default=0)
            return {name: own.get(name, top) for name, _ in model.named_parameters()}
    return _depths_by_order(model)


def _depths_by_order(model: nn.Module) -> dict[str, int]:
    blocks = repeated_blocks(model)
    inside = {
        f"{path}.{name}": number
        for number, (path, block) in enumerate(blocks.items(), start=1)
        for name, _ in block.named_parameters()
    }
    depths, depth = {}, 0
    for name, _ in model.named_parameters():
        depth = inside.get(name, depth)
        depths[name] = depth
    for name in reversed(depths):
        if name in inside or not blocks:
            break
        depths[name] = len(blocks) + 1
    return depths
