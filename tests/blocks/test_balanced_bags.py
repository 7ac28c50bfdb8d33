"""Bags in which classes are as frequent, and an order that visits what they hold."""

from __future__ import annotations

import pytest
import torch

from mlexpert.blocks.samplers.balanced_bags import bagged_order, balanced_bags

COUNTS = (40, 7, 15)
TARGETS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS)).flip(0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_every_bag_has_as_many_of_each_class_as_the_rarest_has_rows(bootstrap: bool) -> None:
    bags = balanced_bags(TARGETS, 3, 10, generator(), bootstrap=bootstrap)
    assert bags.shape == (62, 10)
    for label in range(3):
        assert bags[label == TARGETS].sum(dim=0).tolist() == [7] * 10
    rare = bags[TARGETS == 1]
    assert (rare == 1).all() != bootstrap  # every rare row, or a bootstrap sample of them
    assert (bags.max() > 1) == bootstrap
    assert len({tuple(bag) for bag in bags.T.tolist()}) == 10


@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_row_of_a_class_is_as_likely_as_another(bootstrap: bool) -> None:
    bags = balanced_bags(TARGETS, 3, 4_000, generator(), bootstrap=bootstrap).double()
    for label, rows in enumerate(COUNTS):
        expected = 7 / rows
        error = (expected * 1.0 / 4_000) ** 0.5
        means = bags[label == TARGETS].mean(dim=1)
        assert (means - expected).abs().max() < 5 * error + 1e-12


def test_bags_are_the_generators_and_a_class_without_rows_is_in_none() -> None:
    one, again, other = (balanced_bags(TARGETS, 3, 4, generator(s)) for s in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(balanced_bags(TARGETS, 5, 4, generator()), one)


def test_the_order_visits_the_rows_of_the_bags_and_each_as_often() -> None:
    bags = balanced_bags(TARGETS, 3, 1, generator())
    inside = bags.any(dim=1)
    order = bagged_order(bags, generator())
    visits = torch.bincount(order, minlength=62)
    assert len(order) == 62 and inside.sum() == 21
    assert (visits[~inside] == 0).all()
    assert set(visits[inside].tolist()) == {2, 3}  # 62 visits of 21 rows
    many = sum(torch.bincount(bagged_order(bags, generator(s)), minlength=62) for s in range(400))
    assert torch.allclose(many[inside] / 400, torch.tensor(62 / 21), atol=0.15)
