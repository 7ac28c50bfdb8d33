"""Orders of rows by class: frequencies, determinism under a seed, and what cannot be meant."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlexpert.blocks.samplers.class_balanced import balanced_log_weight, class_balanced
from mlexpert.blocks.samplers.progressive import progressive
from mlexpert.errors import InputError

COUNTS = torch.tensor([900, 70, 30])


def targets(counts: Tensor = COUNTS) -> Tensor:
    rows = torch.arange(len(counts)).repeat_interleave(counts)
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(9))]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_class_comes_as_often_as_another_and_by_chance_once_more() -> None:
    rows, more = targets(), torch.zeros(3)
    for seed in range(60):
        drawn = rows[class_balanced(rows, 0.0, seeded(seed))].bincount(minlength=3)
        assert drawn.sum() == 1000 and sorted(drawn.tolist()) == [333, 333, 334]
        more += drawn == 334
    assert more.min() > 8  # 20 are expected, with a standard deviation of 3.7


def test_a_row_is_as_likely_as_another_of_its_class() -> None:
    """Chi-square over the rows of every class: mean K - 1, standard deviation sqrt(2 (K - 1))."""
    rows = targets()
    drawn = torch.stack([class_balanced(rows, 0.0, seeded(seed)) for seed in range(300)])
    times = drawn.flatten().bincount(minlength=1000).double()
    for label, count in enumerate(COUNTS.tolist()):
        own = times[rows == label]
        chi_square = float(((own - own.mean()) ** 2 / own.mean()).sum())
        assert abs(chi_square - (count - 1)) < 4 * (2 * (count - 1)) ** 0.5


def test_which_class_comes_next_is_at_random() -> None:
    rows = targets()
    drawn = rows[class_balanced(rows, 0.0, seeded(0))]
    same = (drawn[1:] == drawn[:-1]).double().mean()
    assert float(same) == pytest.approx(1 / 3, abs=0.06)
    assert torch.bincount(drawn[:100]).min() > 15


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 1.0])
def test_shares_of_progressive_balancing_are_those_of_equation_3(progress: float) -> None:
    rows = targets()
    drawn = torch.stack(
        [rows[progressive(rows, progress, seeded(seed))].bincount() for seed in range(400)]
    )
    shares = drawn.double().mean(0) / 1000
    expected = (1 - progress) * COUNTS / 1000 + progress / 3
    assert drawn.sum(1).unique().tolist() == [1000]
    assert torch.allclose(shares, expected.double(), atol=2e-3)


def test_progressive_balancing_begins_with_every_row_once() -> None:
    rows = targets()
    first = progressive(rows, 0.0, seeded(3))
    assert first.sort().values.equal(torch.arange(1000))
    assert not first.equal(torch.arange(1000))
    later = progressive(rows, 0.5, seeded(3))
    assert len(later[rows[later] == 0].unique()) > 440  # half of them are not drawn twice


@pytest.mark.parametrize("order", [class_balanced, progressive])
def test_the_order_is_of_the_generator_alone(order) -> None:
    rows = targets()
    torch.manual_seed(1)
    first = order(rows, 0.5, seeded(4))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert first.equal(order(rows, 0.5, seeded(4)))
    assert torch.equal(state, torch.get_rng_state())
    assert not first.equal(order(rows, 0.5, seeded(5)))


def test_a_class_without_rows_is_left_out() -> None:
    rows = torch.tensor([0] * 6 + [2] * 2)
    drawn = rows[class_balanced(rows, 0.0, seeded(0))]
    assert drawn.bincount().tolist() == [4, 0, 4]


def test_few_rows_of_one_class_are_all_drawn_with_repetition() -> None:
    rows = torch.zeros(5, dtype=torch.long)
    drawn = torch.cat([class_balanced(rows, 0.0, seeded(seed)) for seed in range(20)])
    assert drawn.unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("order", [class_balanced, progressive])
@pytest.mark.parametrize("given", [torch.rand(4, 3), torch.tensor([0.5, 1.5])])
def test_rows_of_several_classes_are_refused(order, given: Tensor) -> None:
    with pytest.raises(InputError, match="balanced by their class.*float32"):
        order(given, 0.5, seeded(0))


def test_the_weight_of_a_class_is_its_uniform_share_over_its_own() -> None:
    expected = (torch.full((3,), 1 / 3) / (COUNTS / 1000)).log()
    assert torch.allclose(balanced_log_weight(COUNTS.tolist()), expected)
    with pytest.raises(InputError):
        balanced_log_weight([3, 0])
