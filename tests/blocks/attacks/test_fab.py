from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.fab import fab_targeted
from mlexpert.blocks.attacks.hyperplane import onto_hyperplane
from mlexpert.blocks.attacks.margins import is_broken
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.errors import InputError


def by_bisection(at: Tensor, normal: Tensor, value: Tensor, speed: Tensor) -> Tensor:
    """The same move, of which the radius is found by halving an interval."""
    along = normal * -value.sign()[:, None]
    room = torch.where(along > 0, 1 - at, at)
    low, high = torch.zeros(len(at), 1).double(), torch.full((len(at), 1), 1e6).double()
    for _ in range(200):
        middle = (low + high) / 2
        gained = (along.abs() * torch.minimum(middle * speed, room)).sum(dim=1, keepdim=True)
        enough = gained >= value.abs()[:, None]
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return along.sign() * torch.minimum(high * speed, room)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_shortest_move_to_a_hyperplane_is_that_of_bisection(norm) -> None:
    generator = torch.Generator().manual_seed(0)
    at = torch.rand(300, 15, generator=generator, dtype=torch.float64)
    at[:, 0], at[:, 1] = 0.0, 1.0  # at the walls, where there is no room
    normal = torch.randn(300, 15, generator=generator, dtype=torch.float64)
    normal[:, 2] = 0.0
    value = torch.randn(300, generator=generator, dtype=torch.float64) * 2
    budgets = torch.ones(1, dtype=torch.float64) if norm == "linf" else None
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    move = onto_hyperplane(at, normal, value, zero, one, budgets)
    speed = torch.ones_like(normal) if norm == "linf" else normal.abs()
    expected = by_bisection(at, normal, value, speed)
    assert torch.allclose(move, expected, atol=1e-5)
    reached = (value + (move * normal).sum(dim=1)).abs() < 1e-5
    assert 200 < reached.sum() < 300  # from the others it is outside the box
    assert ((at + move)[~reached] * (1 - at - move)[~reached]).abs()[:, 3:].max() < 1e-12


def test_in_budgets_the_move_is_a_share_of_each() -> None:
    at, normal = torch.full((1, 3), 0.5), torch.tensor([[1.0, -2.0, 5.0]])
    zero, one = torch.zeros(()), torch.ones(())
    move = onto_hyperplane(
        at, normal, torch.tensor([-0.4]), zero, one, torch.tensor([0.2, 0.1, 0.0])
    )
    assert torch.allclose(move, torch.tensor([[0.2, -0.1, 0.0]]))


def test_half_precision_has_no_bend_at_infinity_over_nothing() -> None:
    at, normal = torch.tensor([[0.0, 0.5]]).half(), torch.tensor([[-1.0, -2.0]]).half()
    zero, one = torch.zeros(()).half(), torch.ones(()).half()
    budgets = torch.tensor([0.0, 0.1]).half()
    move = onto_hyperplane(at, -normal, torch.tensor([0.4]).half(), zero, one, budgets)
    assert torch.allclose(move.float(), torch.tensor([[0.0, -0.2]]), atol=1e-3)


def test_in_a_box_without_end_the_move_is_that_of_the_dual_norm() -> None:
    at, normal = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[1.0, -3.0, 0.0]])
    ends = torch.tensor([-torch.inf, torch.inf])
    for budgets, expected in ((torch.ones(()), [0.1, -0.1, 0.0]), (None, [0.04, -0.12, 0.0])):
        move = onto_hyperplane(at, normal, torch.tensor([-0.4]), *ends, budgets)
        assert torch.allclose(move, torch.tensor([expected]))


@pytest.mark.parametrize("num_classes", [2, 3, 6])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_exactly_what_can_be_of_a_linear_model(norm, num_classes) -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(16, num_classes, bias=False).requires_grad_(False)
    model.weight.copy_(torch.randn(num_classes, 16, generator=generator))
    inputs = torch.rand(151, 16, generator=generator) * 0.04 + 0.48
    logits = model(inputs)
    targets = logits.argmax(dim=1)
    apart = (model.weight[None] - model.weight[targets][:, None]).norm(
        dim=2, p={"linf": 1, "l2": 2}[norm]
    )
    ahead = (logits.gather(1, targets[:, None]) - logits) / apart.clamp_min(1e-9)
    distance = ahead.scatter(1, targets[:, None], torch.inf).amin(dim=1)
    epsilon = float(distance.sort().values[75:77].mean())
    moved = fab_targeted(model, inputs, targets, Threat(norm, epsilon), steps=10)
    assert torch.equal(is_broken(model(moved), targets), distance < epsilon)
    assert (Threat(norm, epsilon).distance(moved, inputs) <= epsilon).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_comes_to_the_curved_boundary_of_a_ball(norm) -> None:
    """Class 1 is outside a ball of radius .3 around .5: the distance to it is known."""

    def model(inputs: Tensor) -> Tensor:
        length = (inputs - 0.5).square().sum(dim=1).sqrt()
        return torch.stack([torch.full_like(length, 0.3), length], dim=1)

    inputs = 0.5 + 0.1 * torch.randn(40, 5, generator=torch.Generator().manual_seed(1)) / 5**0.5
    away = (inputs - 0.5).double()
    if norm == "l2":
        distance = 0.3 - away.norm(dim=1)
    else:  # all coordinates move by d: sum (|a_i| + d)^2 = .09
        total, squares = away.abs().sum(dim=1), away.square().sum(dim=1)
        distance = (-total + (total**2 + 5 * (0.09 - squares)).sqrt()) / 5
    epsilon, targets = float(distance.median()), torch.zeros(40, dtype=torch.int64)
    moved = fab_targeted(model, inputs, targets, Threat(norm, epsilon), steps=60)
    broken = is_broken(model(moved), targets)
    assert not broken[distance > epsilon * (1 + 1e-4)].any()
    assert broken[distance < 0.97 * epsilon].all()


def test_moves_along_the_box_and_never_out_of_it() -> None:
    model = nn.Linear(4, 2, bias=False).requires_grad_(False)
    model.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, -1.0]]))
    inputs = torch.tensor([[0.0, 0.0, 0.1, 0.9]])  # only up, and down in the last
    targets = torch.tensor([0])
    for epsilon, breaks in ((0.19, False), (0.21, True)):
        moved = fab_targeted(model, inputs, targets, Threat("linf", epsilon), steps=5)
        assert bool(is_broken(model(moved), targets)) is breaks
        assert moved.min() >= 0 and moved.max() <= 1


def test_a_column_without_a_budget_stays() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(6, 3), torch.rand(50, 6)
    targets = model(inputs).argmax(dim=1)
    budgets = torch.tensor([0.2, 0.0, 0.2, 0.0, 0.1, 0.1])
    moved = fab_targeted(model, inputs, targets, Threat("linf", budgets), steps=10)
    assert torch.equal(moved[:, [1, 3]], inputs[:, [1, 3]])
    assert ((moved - inputs).double().abs() <= budgets.double()).all()
    assert is_broken(model(moved), targets).any()


def test_a_model_that_is_wrong_or_flat_is_left_alone() -> None:
    torch.manual_seed(0)
    model, inputs, threat = nn.Linear(6, 3), torch.rand(8, 6), Threat("linf", 0.1)
    wrong = (model(inputs).argmax(dim=1) + 1) % 3
    assert torch.equal(fab_targeted(model, inputs, wrong, threat, steps=3), inputs)

    def flat(inputs: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]]) + 0 * inputs[:, :3]

    targets = torch.zeros(8, dtype=torch.int64)
    assert torch.equal(fab_targeted(flat, inputs, targets, threat, steps=3), inputs)


def test_has_no_l1_version() -> None:
    with pytest.raises(InputError, match="no L1 version"):
        fab_targeted(nn.Linear(2, 2), torch.rand(1, 2), torch.zeros(1).long(), Threat("l1", 1.0))
