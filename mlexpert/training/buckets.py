"""Gradients laid end to end, so that a few large messages carry them instead of many small ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

BUCKET_BYTES = 25 * 2**20


def cut_into_buckets(
    parameters: Iterable[nn.Parameter], limit: int = BUCKET_BYTES
) -> list[list[nn.Parameter]]:
    """Return the trainable parameters, grouped by type and device, in buckets of about one size.

    Args:
        parameters: In an order that is the same in every process.
        limit: Most bytes of a bucket, unless one parameter alone is larger.
    """
    filling: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    full = []
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        bucket = filling.setdefault((parameter.dtype, parameter.device), [])
        if bucket and sum(p.nbytes for p in bucket) + parameter.nbytes > limit:
            full.append(bucket[:])
            bucket.clear()
        bucket.append(parameter)
    return full + list(filling.values())


def pack(bucket: Sequence[nn.Parameter]) -> Tensor:
    """Return the gradients of a bucket as one row, then a 1 for each that is there and a 0 else."""
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
    row = torch.cat([piece.reshape(-1) for piece in [*pieces, pieces[0].new_ones(len(bucket))]])
    for index, parameter in enumerate(bucket, start=-len(bucket)):
        if parameter.grad is None:
            row[index] = 0
    return row


def unpack(row: Tensor, bucket: Sequence[nn.Parameter]) -> None:
    """Write sums of rows from `pack` back; a gradient that was nowhere stays None."""
    if any(parameter.grad is None for parameter in bucket):
        # Only now is the row read: with every gradient in place, a GPU is not synchronised.
        for parameter, number in zip(bucket, row[-len(bucket) :].tolist(), strict=True):
            if parameter.grad is None and number:
                parameter.grad = torch.empty_like(parameter)
    gradients, sums = [], []
    for parameter, piece in zip(bucket, cut(row[: -len(bucket)], bucket), strict=True):
        if parameter.grad is not None:
            gradients.append(parameter.grad)
            sums.append(piece)
    if gradients:
        torch._foreach_copy_(gradients, sums)


def cut(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the pieces of a row as views of the shapes of `like`."""
    pieces = row.split([tensor.numel() for tensor in like])
    return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]
