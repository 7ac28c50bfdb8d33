"""A global batch cut into micro-batches."""

from __future__ import annotations

from itertools import pairwise
from operator import itemgetter

from mlexpert.training.method import Batch


def rows_of_a_piece(size: int, width: int | None, batch: Batch) -> int:
    """Return the most rows of a micro-batch of this batch.

    Args:
        size: Most rows of a micro-batch.
        width: Length in tokens for which `size` rows are allowed: shorter sequences get more rows,
            longer ones fewer. None: `size` rows whatever their length.
        batch: The batch to be cut; its sequences are padded to one length.
    """
    return size if width is None else max(1, size * width // batch.inputs.shape[1])


def pieces(batch: Batch, size: int, width: int | None = None) -> list[Batch]:
    """Cut a batch into micro-batches, of `rows_of_a_piece` at the most."""
    return evenly(batch, -(-len(batch) // rows_of_a_piece(size, width, batch)))


def evenly(batch: Batch, count: int) -> list[Batch]:
    """Cut a batch into `count` pieces of about one size, in order.

    Were the last one just what is left, a rest of one row would leave BatchNorm without a variance.
    """
    if count <= 1:
        return [batch]
    bounds = [-(-len(batch) * number // count) for number in range(count + 1)]
    return [batch.map(itemgetter(slice(*ends))) for ends in pairwise(bounds)]
