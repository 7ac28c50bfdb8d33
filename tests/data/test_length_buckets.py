"""Batches of like lengths: every row once, in an order of seed and epoch alone, padded little."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlexpert.data.batches import RaggedStore, TensorStore, cut, epoch_cuts, epoch_order
from mlexpert.training.evaluation import logits_of


def ragged(lengths: np.ndarray) -> RaggedStore:
    """Rows of these lengths; row i holds nothing but i + 1."""
    offsets = torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))
    return RaggedStore(
        torch.repeat_interleave(torch.arange(len(lengths)) + 1, offsets.diff()), offsets
    )


LENGTHS = np.random.default_rng(0).geometric(0.05, 5_003)


def padding(store: RaggedStore, cuts: list[torch.Tensor]) -> float:
    held = sum(store.take(rows).numel() for rows in cuts)
    return 1 - int(store.offsets.diff()[torch.cat(cuts)].sum()) / held


@pytest.mark.parametrize("rows", [1, 2, 17, 5_003])
def test_every_row_comes_once_an_epoch(rows: int) -> None:
    cuts = epoch_cuts(ragged(LENGTHS[:rows]), 16, seed=3, epoch=1)
    assert torch.equal(torch.cat(cuts).sort().values, torch.arange(rows))
    assert sorted(map(len, cuts)) == sorted(map(len, cut(torch.arange(rows), 16)))


def test_the_order_is_of_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return [rows.tolist() for rows in epoch_cuts(ragged(LENGTHS), 16, seed=seed, epoch=epoch)]

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(3, 2)
    assert order(3, 1) != order(4, 1)


def test_batches_of_like_lengths_pad_less_and_come_in_no_order_of_length() -> None:
    store = ragged(LENGTHS)
    cuts = epoch_cuts(store, 16, seed=0, epoch=0)
    at_random = padding(store, cut(epoch_order(len(store), seed=0, epoch=0), 16))
    assert padding(store, cuts) < 0.15 < 0.5 < at_random
    longest = np.array([LENGTHS[rows.numpy()].max() for rows in cuts])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2


def test_rows_of_one_shape_keep_their_order() -> None:
    cuts = epoch_cuts(TensorStore(torch.zeros(50, 2)), 16, seed=2, epoch=5)
    assert torch.equal(torch.cat(cuts), epoch_order(50, seed=2, epoch=5))


class _FirstToken(nn.Module):
    """Returns a row's first token, and remembers how wide its inputs were."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.widths.append(inputs.shape[1])
        return inputs[:, :1].float()


def test_logits_come_back_in_the_order_asked_for() -> None:
    store, model = ragged(LENGTHS), _FirstToken()
    index = epoch_order(len(store), seed=9, epoch=0)[:3_000]
    logits = logits_of(model, store, torch.device("cpu"), index, rows=100)
    assert torch.equal(logits[:, 0], index + 1.0)
    assert model.widths == sorted(model.widths)


def test_an_order_with_repeats_is_cut_into_batches_of_like_lengths_too() -> None:
    store = ragged(LENGTHS)
    rows = torch.randint(len(store) // 2, (len(store),), generator=torch.Generator().manual_seed(1))
    cuts = epoch_cuts(store, 16, seed=3, epoch=1, order=rows)
    assert torch.equal(torch.cat(cuts).sort().values, rows.sort().values)
    assert sorted(map(len, cuts)) == sorted(map(len, cut(rows, 16)))
    assert padding(store, cuts) < 0.15 < 0.5 < padding(store, cut(rows, 16))
    again = epoch_cuts(store, 16, seed=3, epoch=1, order=rows)
    assert all(map(torch.equal, cuts, again))
