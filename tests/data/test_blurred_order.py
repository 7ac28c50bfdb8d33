"""The order in which a stream's rows come."""

from __future__ import annotations

import pytest
import torch

from mlexpert.data.tasks.blurred_order import stream_order
from mlexpert.errors import InputError

LENGTHS = (60, 30, 51)
TASKS = torch.repeat_interleave(torch.arange(3), torch.tensor(LENGTHS))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("blur", [0, 0.1, 0.5, 1.0])
def test_every_row_comes_once_and_only_neighbours_mix(blur: float) -> None:
    tasks = TASKS[torch.randperm(len(TASKS), generator=generator(9))]
    order = stream_order(tasks, blur, generator())
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(len(tasks)))
    assert torch.equal(order, stream_order(tasks, blur, generator()))
    assert not torch.equal(order, stream_order(tasks, blur, generator(1)))
    came, end = tasks[order], 0
    for number, length in enumerate(LENGTHS):
        half = int(blur * length / 2)
        first = 0 if number == 0 else half  # nothing comes before the first task
        last = length if number == 2 else length - half
        assert (came[end + first : end + last] == number).all()
        end += length


def test_without_blur_tasks_come_one_after_another_and_are_shuffled() -> None:
    order = stream_order(TASKS, 0.0, generator())
    assert torch.equal(TASKS[order], TASKS)
    draws = torch.stack([stream_order(TASKS, 0.0, generator(s))[:60] for s in range(2_000)])
    # The mean number of a row in each place: 29.5, with a deviation of 17.3 / sqrt(2000).
    assert (draws.double().mean(dim=0) - 29.5).abs().max() < 5 * 17.32 / 2_000**0.5


def test_the_share_of_the_next_task_rises_in_a_straight_line() -> None:
    tasks = torch.repeat_interleave(torch.arange(2), 1_000)
    share = torch.stack([tasks[stream_order(tasks, 0.8, generator(s))] for s in range(300)])
    share = share.double().mean(dim=0)
    assert not share[:600].any() and share[1_400:].all()
    line = (torch.arange(800) + 0.5) / 800
    window = share[600:1_400]
    assert (window.view(20, 40).mean(1) - line.view(20, 40).mean(1)).abs().max() < 0.02


def test_a_task_without_rows_and_no_rows_at_all_are_passed_over() -> None:
    tasks = torch.tensor([0, 0, 2, 2])
    assert tasks[stream_order(tasks, 0.0, generator())].tolist() == [0, 0, 2, 2]
    assert len(stream_order(torch.zeros(0, dtype=torch.int64), 0.5, generator())) == 0


@pytest.mark.parametrize("blur", [-0.1, 1.1, float("nan")])
def test_a_blur_that_is_no_share_is_refused(blur: float) -> None:
    with pytest.raises(InputError, match="a share of a task's length"):
        stream_order(TASKS, blur, generator())
