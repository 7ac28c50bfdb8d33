"""Batches by tokens: every row once, within the budget, little padding, as many each epoch."""

from __future__ import annotations

import pytest
import torch

from mlexpert.data.batches import RaggedStore, epoch_cuts
from mlexpert.data.token_budget import GROWTH, bucket_ends, cut_by_tokens, num_batches

LENGTHS = torch.randint(1, 200, (500,), generator=torch.Generator().manual_seed(0))


def store() -> RaggedStore:
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), LENGTHS.cumsum(0)])
    return RaggedStore(torch.ones(int(offsets[-1]), dtype=torch.int32), offsets)


@pytest.mark.parametrize("budget", [100, 1000, 10_000])
def test_every_row_comes_once_within_the_budget(budget: int) -> None:
    cuts = cut_by_tokens(torch.randperm(500), LENGTHS, budget)
    assert torch.cat(cuts).sort().values.tolist() == list(range(500))
    for rows in cuts:
        padded = len(rows) * int(LENGTHS[rows].max())
        assert padded <= budget or len(rows) == 1


def test_batches_hold_rows_of_alike_length() -> None:
    cuts = cut_by_tokens(torch.randperm(500), LENGTHS, 10_000)
    for rows in cuts:
        shortest, longest = int(LENGTHS[rows].min()), int(LENGTHS[rows].max())
        assert longest <= GROWTH * shortest + 1
    ends = bucket_ends(200)
    assert ends[0] == 1 and ends[-1] == 200 and (ends.diff() > 0).all()


def test_epochs_have_as_many_batches_in_another_order() -> None:
    counts, firsts = set(), []
    for epoch in range(4):
        cuts = epoch_cuts(store(), 0, seed=0, epoch=epoch, batch_tokens=1500)
        counts.add(len(cuts))
        firsts.append(cuts[0].tolist())
    assert counts == {num_batches(LENGTHS, 1500)}
    assert firsts[0] != firsts[1]
    again = epoch_cuts(store(), 0, seed=0, epoch=1, batch_tokens=1500)
    assert again[0].tolist() == firsts[1]


def test_a_row_beyond_the_budget_is_a_batch_of_its_own() -> None:
    lengths = torch.tensor([5, 900, 6])
    cuts = cut_by_tokens(torch.arange(3), lengths, 100)
    assert [1] in [rows.tolist() for rows in cuts]
