"""Herding against the paper's formula, by trying every row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlexpert.blocks.replay.herding import herding
from mlexpert.errors import InputError


def by_trying(features: Tensor, count: int) -> list[int]:
    """iCaRL's algorithm 4: the distance from the mean of all to the mean with each row."""
    mean, chosen = features.mean(dim=0), []
    for k in range(1, count + 1):
        distance = [
            float((mean - (features[[*chosen, row]].sum(dim=0) / k)).norm())
            if row not in chosen
            else float("inf")
            for row in range(len(features))
        ]
        chosen.append(distance.index(min(distance)))
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_it_chooses_what_trying_every_row_does(seed: int) -> None:
    features = torch.randn(
        30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    order = herding(features, 12)
    assert order.tolist() == by_trying(features, 12)
    assert herding(features, 5).equal(order[:5])  # a smaller memory keeps the first


def test_its_mean_is_nearer_than_that_of_rows_at_random() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 20, generator=generator)
    mean = features.mean(dim=0)
    chosen = (features[herding(features, 20)].mean(dim=0) - mean).norm()
    at_random = [
        (features[torch.randperm(500, generator=generator)[:20]].mean(dim=0) - mean).norm()
        for _ in range(50)
    ]
    assert chosen < min(at_random) / 2


def test_no_row_comes_twice_and_all_come_where_that_is_asked() -> None:
    features = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    assert sorted(herding(features, 9).tolist()) == [0, 1, 2, 3]
    assert herding(features, 0).tolist() == []


def test_what_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(InputError, match=r"features \(3,\)"):
        herding(torch.zeros(3), 1)
    with pytest.raises(InputError, match="finite"):
        herding(torch.tensor([[torch.nan]]), 1)
