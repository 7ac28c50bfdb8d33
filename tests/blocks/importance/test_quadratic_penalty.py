from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mlexpert.blocks.importance.quadratic_penalty import QuadraticPenalty


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def moved(model: nn.Module, by: float = 1.0) -> dict[str, Tensor]:
    """Move the weights at random and return an importance for each."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by * torch.randn_like(parameter)
    return {name: torch.rand_like(p).square() for name, p in model.named_parameters()}


def tasks_of(model: nn.Module, count: int) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Return importance and weights after each task."""
    tasks = []
    for _ in range(count):
        importance = moved(model)
        tasks.append((importance, {n: p.detach().clone() for n, p in model.named_parameters()}))
    return tasks


def put(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    model.load_state_dict(weights)
    return model


def test_is_the_sum_of_a_parabola_for_each_task() -> None:
    model = network()
    penalty, tasks = QuadraticPenalty(model), tasks_of(model, 5)
    for importance, weights in tasks:
        penalty.add(put(model, weights), importance)
    moved(model)
    expected = sum(
        (importance[name] * (parameter - weights[name]).square()).sum()
        for importance, weights in tasks
        for name, parameter in model.named_parameters()
    )
    assert penalty(model).item() == pytest.approx(float(expected.detach()) / 2, rel=1e-5)


def test_keeps_its_digits_close_to_the_centre() -> None:
    """Where A theta^2 - 2 B theta + C in float32 is noise."""
    model = nn.Linear(1, 1, bias=False)
    penalty, places = QuadraticPenalty(model), [0.3, 0.3001, 0.3002]
    for place in places:
        nn.init.constant_(model.weight, place)
        penalty.add(model, {"weight": torch.full((1, 1), 1e-8)})
    expected = sum(1e-8 * (0.3002 - place) ** 2 for place in places) / 2
    assert penalty(model).item() == pytest.approx(expected, rel=2e-3)
    theta, held = torch.tensor(0.3002), [torch.tensor(place) for place in places]
    naive = 3e-8 * theta**2 - 2 * 1e-8 * sum(held) * theta + 1e-8 * sum(p**2 for p in held)
    assert abs(naive.item() / 2 - expected) > 0.1 * expected


def test_the_gradient_that_is_added_is_that_of_the_value() -> None:
    model = network()
    penalty, tasks = QuadraticPenalty(model), tasks_of(model, 3)
    for importance, weights in tasks:
        penalty.add(put(model, weights), importance)
    moved(model)
    (7.0 * penalty(model)).backward()
    expected = {name: p.grad.clone() + 1.0 for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    penalty.add_gradient(model, strength=7.0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_moving_keeps_one_parabola_around_the_newest_weights() -> None:
    """Schwarz et al. 2018, equation 9: F* = gamma F* + F."""
    model = network()
    penalty, tasks = QuadraticPenalty(model), tasks_of(model, 3)
    for importance, weights in tasks:
        penalty.move(put(model, weights), importance, decay=0.5)
    moved(model)
    newest = tasks[-1][1]
    expected = sum(
        (
            (0.25 * tasks[0][0][name] + 0.5 * tasks[1][0][name] + tasks[2][0][name])
            * (parameter - newest[name]).square()
        ).sum()
        for name, parameter in model.named_parameters()
    )
    assert penalty(model).item() == pytest.approx(float(expected.detach()) / 2, rel=1e-5)


def test_importance_below_zero_holds_nothing() -> None:
    model = nn.Linear(1, 1, bias=False)
    penalty = QuadraticPenalty(model)
    penalty.move(model, {"weight": torch.tensor([[-2.0]])})
    nn.init.constant_(model.weight, 100.0)
    assert penalty(model).item() == 0.0


def test_a_weight_without_importance_is_free_and_nothing_is_not_a_number() -> None:
    model = network()
    penalty = QuadraticPenalty(model)
    for _ in range(2):
        importance = {name: torch.zeros_like(value) for name, value in moved(model).items()}
        penalty.add(model, importance)
    moved(model)
    assert penalty(model).item() == 0.0
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    penalty.add_gradient(model, strength=1e10)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())


@pytest.mark.parametrize("update", ["add", "move"])
def test_a_later_task_costs_what_the_second_did(update: str) -> None:
    model = network()
    penalty = QuadraticPenalty(model)
    counts = []
    for _ in range(6):
        importance = moved(model)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        with Operations() as operations:
            getattr(penalty, update)(model, importance)
            penalty.add_gradient(model, strength=1.0)
        held = list(penalty.buffers())
        counts.append((len(held), sum(value.nbytes for value in held), operations.count))
    assert len(set(counts)) == 1
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert counts[0][:2] == (2 * 4 + 1, 4 * (2 * numbers + 1))


class Operations(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_gradient_descent_does_not_overshoot_where_the_slope_is_bounded() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    penalty = QuadraticPenalty(model)
    penalty.add(model, {"weight": torch.ones(1, 1)})

    def ends(steepest: float) -> float:
        nn.init.constant_(model.weight, 1.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(10):
            model.weight.grad = torch.zeros(1, 1)
            penalty.add_gradient(model, strength=1e3, steepest=steepest)
            optimizer.step()
        return abs(model.weight.item())

    assert ends(steepest=1 / 0.1) < 1e-6 and ends(steepest=math.inf) > 1e6


def test_is_float32_under_autocast_and_has_no_part_in_the_graph() -> None:
    model = network()
    penalty = QuadraticPenalty(model)
    penalty.add(model, {n: torch.full_like(p, 1e-8) for n, p in model.named_parameters()})
    with torch.no_grad():
        model[0].weight += 1e-3
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty.add_gradient(model, strength=1e10)
    grad = model[0].weight.grad
    assert grad.dtype == torch.float32 and not grad.requires_grad
    torch.testing.assert_close(grad, torch.full_like(grad, 0.1), rtol=1e-3, atol=0)


def test_only_parameters_with_a_gradient_are_pulled() -> None:
    model = network()
    penalty = QuadraticPenalty(model)
    penalty.add(model, moved(model))
    moved(model)
    model[2].weight.grad = torch.zeros_like(model[2].weight)
    penalty.add_gradient(model, strength=1.0)
    assert model[0].weight.grad is None and model[2].weight.grad.abs().max() > 0


def test_is_all_in_the_state() -> None:
    model = network()
    penalty, other = QuadraticPenalty(model), QuadraticPenalty(model)
    for _ in range(2):
        penalty.add(model, moved(model))
    other.load_state_dict(penalty.state_dict())
    moved(model)
    assert other(model).item() == penalty(model).item() > 0
