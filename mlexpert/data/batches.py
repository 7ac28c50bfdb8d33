"""Rows as tensors, and the order of their visits: held in memory, or loaded as needed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from mlexpert.data.images import Images
from mlexpert.data.token_budget import cut_by_tokens
from mlexpert.errors import RunError

Order = Callable[[Tensor, float, torch.Generator], Tensor]
"""Maps targets (N,) or (N, K), the fraction of training done when the epoch starts and a generator
on the CPU to the rows (N,) of the epoch, some of which may come more than once; where an epoch is
said to be of other rows than all, to as many as that. Nothing else may be drawn from: every process
has to draw the same."""

Rows = tuple[Tensor, Tensor, Tensor]  # inputs, targets (B,), index (B,)

WINDOW = 50
"""Batches whose rows are sorted by length together: more pad less, and are less at random."""


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

    def select(self, rows: Tensor) -> Store:
        """Return the rows at `rows` (N',), in this order."""
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

    def select(self, rows: Tensor) -> TensorStore:
        """Return some rows: a part of the same memory, where they lie one after another."""
        return TensorStore(self.rows[_slice_of(rows)])

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

    def select(self, rows: Tensor) -> RaggedStore:
        """Return some rows, end to end."""
        lengths = self.offsets.diff()[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        starts = (self.offsets[:-1][rows] - offsets[:-1]).repeat_interleave(lengths)
        return RaggedStore(self.tokens[starts + torch.arange(int(offsets[-1]))], offsets)

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

    def select(self, rows: Tensor) -> LazyImageStore:
        """Return some images, as they are stored."""
        return LazyImageStore(self.images[rows.numpy()], self.size, self.channels)

    def to(self, device: torch.device) -> LazyImageStore:
        """Return the store: its images are decoded on the CPU."""
        return self


def _slice_of(rows: Tensor) -> slice | Tensor:
    """Return neighbours (N',) as a slice, which copies nothing, and others as they are."""
    if len(rows) and bool((rows.diff() == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def in_order(targets: Tensor, progress: float, generator: torch.Generator) -> Tensor:
    """Return the rows (N,) as they come: an `Order` for a stream that passes once."""
    return torch.arange(len(targets))


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order (N,) of an epoch, of seed and epoch alone: it can be resumed anywhere."""
    return torch.randperm(num_rows, generator=_generator(seed, epoch))


def drawn_order(
    order: Order,
    targets: Tensor,
    progress: float,
    *,
    seed: int,
    epoch: int,
    rows: int | None = None,
) -> Tensor:
    """Return the rows that `order` draws, of seed and epoch alone.

    Args:
        order: What draws them.
        targets: (N,) or (N, K), on any device.
        progress: Fraction of training done, in [0, 1).
        seed: Of the run.
        epoch: From 0.
        rows: How many it has to draw; None: N.

    Raises:
        RunError: If it does not draw as many rows, of those that there are.
    """
    drawn = order(targets.cpu(), progress, _generator(seed, epoch))
    count = len(targets)
    wanted = count if rows is None else rows
    if drawn.shape != (wanted,) or drawn.dtype != torch.int64:
        raise RunError(
            f"The order of an epoch is {tuple(drawn.shape)} of {drawn.dtype}; it has to be as many "
            f"row numbers (int64) as an epoch has rows, ({wanted},)."
        )
    if int(drawn.min()) < 0 or int(drawn.max()) >= count:
        raise RunError(
            f"The order of an epoch has rows {int(drawn.min())} to {int(drawn.max())}, and the "
            f"{count} training rows are 0 to {count - 1}."
        )
    return drawn


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)


def cut(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut an order into global batches.

    A last batch of one row joins the one before it: BatchNorm has no variance to take from a single
    row.
    """
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def epoch_cuts(
    store: Store,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    order: Tensor | None = None,
    batch_tokens: int | None = None,
) -> list[Tensor]:
    """Return an epoch's global batches, of seed and epoch alone: it can be resumed anywhere.

    Rows of unequal length come in batches of alike ones, which need little padding: the order is
    cut into windows of `WINDOW` batches, each is sorted by length, and the batches are shuffled.

    Args:
        store: The encoded rows, N.
        batch_size: Rows of a batch.
        seed: Of the run.
        epoch: From 0.
        order: (N,) the rows to visit, some more than once perhaps. None: each once, at random.
        batch_tokens: Most tokens of a batch, padding included, in place of `batch_size`; see
            `token_budget.cut_by_tokens`.
    """
    if order is None:
        order = epoch_order(len(store), seed=seed, epoch=epoch)
    lengths = row_lengths(store)
    if lengths is None:
        return cut(order, batch_size)
    if batch_tokens is not None:
        cuts = cut_by_tokens(order, lengths, batch_tokens)
        return [cuts[number] for number in epoch_order(len(cuts), seed=seed, epoch=epoch)]
    windows = order.split(WINDOW * batch_size)
    alike = torch.cat([rows[lengths[rows].argsort(stable=True)] for rows in windows])
    cuts = cut(alike, batch_size)
    return [cuts[number] for number in epoch_order(len(cuts), seed=seed, epoch=epoch)]


def row_lengths(store: Store) -> Tensor | None:
    """Return the length (N,) of every row, on the CPU; None where all are of one shape."""
    return store.offsets.diff().cpu() if isinstance(store, RaggedStore) else None


def batches(
    store: Store, targets: Tensor, cuts: list[Tensor], *, workers: int | None = None
) -> Iterator[Rows]:
    """Yield the rows of each cut, in order: by indexing in memory, else decoded by threads.

    Args:
        store: The encoded rows.
        targets: (N,) or (N, K).
        cuts: Rows of each batch.
        workers: Threads that decode ahead of the training; decoders let other threads run. None:
            one for each core. 0 decodes a batch when it is asked for.
    """
    if not cuts:
        return
    # Sent to a GPU in one go: every transfer waits for the steps that are under way there.
    local = torch.cat(cuts).to(targets.device).split([len(index) for index in cuts])
    loaded: Iterator[Tensor]
    if store.in_memory:
        loaded = map(store.take, local)
    elif workers == 0:
        loaded = map(store.take, cuts)
    else:
        loaded = _ahead(store, cuts, workers or os.cpu_count() or 1)
    for index, inputs in zip(local, loaded, strict=True):
        yield inputs, targets[index], index


def _ahead(store: Store, cuts: list[Tensor], workers: int) -> Iterator[Tensor]:
    """Yield the inputs of each cut, in order, while threads share the rows of the next two.

    Whatever ends the training, Ctrl-C as well, closes this generator, and what no thread has begun
    is dropped.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    due = iter(cuts)
    under_way: deque[list[Future[Tensor]]] = deque()

    def begin(count: int) -> None:
        for index in islice(due, count):
            parts = index.split(-(-len(index) // workers))
            under_way.append([pool.submit(store.take, part) for part in parts])

    try:
        begin(2)
        while under_way:
            inputs = torch.cat([part.result() for part in under_way.popleft()])
            begin(1)
            yield inputs
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
