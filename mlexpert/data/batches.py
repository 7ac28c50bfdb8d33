"""Rows as tensors, and the order of their visits: held in memory, or loaded as needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlexpert.data.images import Images

Rows = tuple[Tensor, Tensor, Tensor]  # inputs, targets (B,), index (B,)


class Store(Protocol):
    """The encoded inputs of a set of rows."""

    in_memory: bool
    is_ragged: bool
    """Whether its rows are of unequal length, padded to the longest of a batch."""
    nbytes: int
    """Bytes that it holds in memory."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Tensor:
        """Return the model's input for the rows at `index` (B,)."""
        ...

    def longest(self, count: int) -> Tensor:
        """Return the rows (count,) that need most memory; any, where all need the same."""
        ...

    def to(self, device: torch.device) -> Store:
        """Return the store with its tensors on `device`, where it holds any."""
        ...


class TensorStore:
    """Rows of one shape, indexed at once. Bytes are pixels: they are given as floats in [0, 1]."""

    in_memory, is_ragged = True, False

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.nbytes = rows, rows.nbytes

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Tensor) -> Tensor:
        """Return the rows (B, ...) at `index`."""
        rows = self.rows[index.to(self.rows.device)]
        return rows.float().div_(255) if rows.dtype == torch.uint8 else rows

    def longest(self, count: int) -> Tensor:
        """Return the first rows: all are of one shape."""
        return torch.arange(min(count, len(self)))

    def to(self, device: torch.device) -> TensorStore:
        """Return the rows on `device`."""
        return TensorStore(self.rows.to(device))


class RaggedStore:
    """Token sequences of unequal length, end to end; a batch is padded with 0 to its longest."""

    in_memory, is_ragged = True, True

    def __init__(self, tokens: Tensor, offsets: Tensor) -> None:
        self.tokens, self.offsets = tokens, offsets
        self.nbytes = tokens.nbytes + offsets.nbytes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, index: Tensor) -> Tensor:
        """Return the padded tokens (B, T) of the rows at `index`."""
        index = index.to(self.offsets.device)
        starts = self.offsets[index]
        lengths = self.offsets[index + 1] - starts
        position = torch.arange(max(1, int(lengths.max())), device=self.tokens.device)
        inside = position < lengths[:, None]  # (B, T)
        source = (starts[:, None] + position).where(inside, 0)
        return self.tokens[source].long().masked_fill_(~inside, 0)

    def longest(self, count: int) -> Tensor:
        """Return the longest rows, longest first."""
        return self.offsets.diff().argsort(descending=True, stable=True)[:count].cpu()

    def to(self, device: torch.device) -> RaggedStore:
        """Return the tokens on `device`."""
        return RaggedStore(self.tokens.to(device), self.offsets.to(device))


class LazyImageStore:
    """Images too many to hold: decoded and resized when their batch is due."""

    in_memory, is_ragged = False, False

    def __init__(self, images: Images, size: tuple[int, int], channels: int) -> None:
        self.images, self.size, self.channels = images, size, channels
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> Tensor:
        """Decode the images (B, C, H, W) at `index`."""
        from mlexpert.data.encode import encode_images

        rows = encode_images(self.images[index.numpy()], size=self.size, channels=self.channels)
        return TensorStore(rows).take(torch.arange(len(rows)))

    def longest(self, count: int) -> Tensor:
        """Return the first rows: all are resized to one shape."""
        return torch.arange(min(count, len(self)))

    def to(self, device: torch.device) -> LazyImageStore:
        """Return the store: its images are decoded on the CPU."""
        return self


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order (N,) of an epoch, of seed and epoch alone: it can be resumed anywhere."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(num_rows, generator=generator)


def cut(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut an order into global batches.

    A last batch of one row joins the one before it: BatchNorm has no variance to take from a single
    row.
    """
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def batches(
    store: Store, targets: Tensor, cuts: list[Tensor], *, workers: int = 0
) -> Iterator[Rows]:
    """Yield the rows of each cut, in order: by indexing in memory, else from a DataLoader."""
    if store.in_memory:
        for index in cuts:
            local = index.to(targets.device)
            yield store.take(local), targets[local], local
        return
    # Its own generator: creating a loader's iterator must not move the global one (it would change
    # dropout).
    loader = DataLoader(
        _WholeBatches(store),
        batch_sampler=[index.tolist() for index in cuts],
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=torch.Generator(),
        persistent_workers=False,
    )
    for index, inputs in zip(cuts, loader, strict=True):
        local = index.to(targets.device)
        yield inputs, targets[local], local


class _WholeBatches(Dataset):
    """Gives whole batches to a DataLoader: fetching row by row costs more than the work itself."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getitems__(self, index: list[int]) -> Tensor:
        return self.store.take(torch.tensor(index))


def _as_it_is(batch: Any) -> Any:
    return batch
