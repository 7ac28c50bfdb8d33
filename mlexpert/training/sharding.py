"""A model spread over several processes (FSDP2), for one that does not fit on a device.

Every process holds a slice of each weight, gradient and moment; a block's weights are gathered when
its turn comes, and given back. Checkpoints and saved models hold whole tensors, so that they can be
read anywhere.

Paper: Zhao et al. 2023, arXiv:2304.11277.

torch's part of it takes a second to import, so a single process, which has no slices, does not.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.blocks.repeated_blocks import repeated_blocks


def shard(model: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """Spread the model's weights over the processes, in place.

    Args:
        model: The same in every process; each of its repeated blocks is gathered by itself.
        optimizers: Over its parameters, without any state yet; they are given the slices instead.
    """
    from torch.distributed.fsdp import fully_shard

    names = {parameter: name for name, parameter in model.named_parameters()}
    for block in repeated_blocks(model).values():
        fully_shard(block)
    fully_shard(model)
    slices = dict(model.named_parameters())
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [slices[names[p]] if p in names else p for p in group["params"]]


def whole(value: Tensor) -> Tensor:
    """Return all of a tensor; every process has to ask for it."""
    if not _has_slices():
        return value
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, place: Tensor) -> Tensor:
    """Return this process's slice of a whole tensor, as `place` is one; else the tensor."""
    if not _has_slices():
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(place, DTensor) and value.shape == place.shape:
        # Every process has read all of it, so none has to send anything.
        return distribute_tensor(
            value.to(place.device), place.device_mesh, place.placements, src_data_rank=None
        )
    return value


def _has_slices() -> bool:
    return dist.is_available() and dist.is_initialized()
