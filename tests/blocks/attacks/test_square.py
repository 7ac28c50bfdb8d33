from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks import square_moves as moves
from mlexpert.blocks.attacks.margins import is_broken
from mlexpert.blocks.attacks.pgd import pgd_restarts
from mlexpert.blocks.attacks.square import share_of_coordinates, square
from mlexpert.blocks.attacks.square_l2 import L2, bump
from mlexpert.blocks.attacks.square_linf import LINF
from mlexpert.blocks.attacks.threat import Threat
from mlexpert.errors import InputError

IMAGE, ROW = torch.Size([3, 10, 8]), torch.Size([30])


class Masked(nn.Module):
    """A linear model that sees inputs in steps of 1/50: its gradient is 0 wherever there is one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return self.linear((flat * 50).round().detach() / 50) + 0 * flat.sum(dim=1, keepdim=True)


class Asked(nn.Module):
    """Counts the rows it was asked about, and refuses to be differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def forward(self, inputs: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.rows += len(inputs)
        return torch.stack([torch.ones(len(inputs)), inputs.flatten(1).mean(dim=1)], dim=1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (64,)])
def test_breaks_a_masked_model_that_gradients_do_not(shape) -> None:
    model, inputs = Masked(), torch.rand(60, *shape, generator=torch.Generator().manual_seed(2))
    targets, threat = model(inputs).argmax(dim=1), Threat("linf", 0.15)
    by_gradients = pgd_restarts(
        model, inputs, targets, threat, steps=20, step_size=0.2, restarts=1, seed=0
    )
    by_search = square(model, inputs, targets, threat, queries=300)
    assert is_broken(model(by_gradients), targets).float().mean() < 0.25
    assert is_broken(model(by_search), targets).float().mean() > 0.9


@pytest.mark.parametrize("norm, reach", [("linf", 0.7), ("l2", 0.4)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (64,)])
def test_breaks_of_a_linear_model_most_that_can_be(shape, norm, reach) -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).requires_grad_(False)
    model[1].weight.copy_(torch.randn(2, 64, generator=generator))
    inputs = torch.rand(80, *shape, generator=generator) * 0.2 + 0.4
    logits = model(inputs)
    apart = (model[1].weight[0] - model[1].weight[1]).norm({"linf": 1, "l2": 2}[norm])
    distance = (logits.amax(dim=1) - logits.amin(dim=1)) / apart
    targets, epsilon = logits.argmax(dim=1), float(distance.median()) * 2
    threat = Threat(norm, epsilon)
    moved = square(model, inputs, targets, threat, queries=300)
    broken = is_broken(model(moved), targets)
    assert not broken[distance > epsilon].any()
    assert broken[distance < reach * epsilon].float().mean() > 0.9
    assert (threat.distance(moved, inputs) <= epsilon).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_asks_for_no_gradient_and_no_more_than_its_queries(norm) -> None:
    model, inputs = Asked(), torch.rand(7, 1, 6, 6)
    square(model, inputs, torch.zeros(7, dtype=torch.int64), Threat(norm, 0.1), queries=20)
    assert model.rows == 7 * (1 + 20)


def test_a_broken_row_is_asked_no_more() -> None:
    model, inputs = Asked(), torch.rand(7, 1, 6, 6)
    moved = square(model, inputs, torch.ones(7, dtype=torch.int64), Threat("linf", 0.1), queries=20)
    assert model.rows == 7
    assert torch.equal(moved, inputs)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [IMAGE, ROW])
def test_the_batch_does_not_matter(norm, shape) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), 8), nn.Tanh(), nn.Linear(8, 4))
    model, inputs, ids = model.double(), torch.rand(9, *shape).double(), torch.arange(9)
    targets, threat = model(inputs).argmax(dim=1), Threat(norm, 0.03)
    whole = square(model, inputs, targets, threat, queries=40, seed=1)
    cut = [
        square(model, inputs[some], targets[some], threat, queries=40, seed=1, ids=some)
        for some in ids.split(4)
    ]
    assert torch.allclose(whole, torch.cat(cut), atol=1e-6)
    assert not torch.equal(whole, square(model, inputs, targets, threat, queries=40, seed=2))


@pytest.mark.parametrize("shape", [IMAGE, ROW])
def test_every_linf_move_is_a_corner_of_the_ball(shape) -> None:
    inputs, threat = torch.rand(5, *shape), Threat("linf", 0.1)
    bounds, share = threat.bounds(inputs), 0.2
    start = LINF.start(threat, inputs, bounds, torch.rand(5, LINF.numbers_of_start(shape)))
    assert ((start == bounds[0]) | (start == bounds[1])).all()
    numbers = torch.rand(5, LINF.numbers_of_move(shape, share))
    moved = LINF.move(threat, inputs, bounds, inputs, share, numbers)
    changed = moved != inputs
    assert ((moved == bounds[0]) | (moved == bounds[1]))[changed].all()
    if shape == IMAGE:  # all channels of a square of round(sqrt(.2 * 80)) = 4
        assert (changed.flatten(1).sum(dim=1) == 3 * 16).all()
        assert (changed.any(dim=1).any(dim=1).sum(dim=1) == 4).all()
    else:
        assert (changed.sum(dim=1) <= 6).all() and changed.any(dim=1).all()


def test_the_start_has_vertical_stripes() -> None:
    inputs, threat = torch.full((4, *IMAGE), 0.5), Threat("linf", 0.1)
    numbers = torch.rand(4, LINF.numbers_of_start(IMAGE))
    start = LINF.start(threat, inputs, threat.bounds(inputs), numbers)
    assert (start == start[:, :, :1]).all()
    assert not (start == start[:, :, :, :1]).all()


@pytest.mark.parametrize("shape", [IMAGE, ROW])
def test_every_l2_move_is_at_the_surface_of_the_ball(shape) -> None:
    inputs, threat = torch.full((6, *shape), 0.5), Threat("l2", 0.4)
    bounds = threat.bounds(inputs)
    point = L2.start(threat, inputs, bounds, torch.rand(6, L2.numbers_of_start(shape)))
    for share in (0.5, 0.1, 0.01):
        numbers = torch.rand(6, L2.numbers_of_move(shape, share))
        new = L2.move(threat, inputs, bounds, point, share, numbers)
        assert ((new != point).flatten(1).any(dim=1)).all()
        point = new
        assert torch.allclose((point - inputs).flatten(1).norm(dim=1), torch.tensor(0.4))


def test_the_bump_is_up_beside_down_and_of_length_one() -> None:
    pattern = bump(7, device=torch.device("cpu"))
    assert pattern.norm() == pytest.approx(1.0)
    assert (pattern[:, :3] > 0).all() and (pattern[:, 3:] < 0).all()
    assert torch.allclose(pattern, pattern.flip(0))


def test_squares_become_smaller_as_in_the_paper() -> None:
    shares = [share_of_coordinates(query, 10000) for query in (0, 10, 11, 51, 201, 8001)]
    assert shares == [0.8, 0.8, 0.4, 0.2, 0.1, 0.8 / 2**9]
    assert share_of_coordinates(26, 5000) == 0.8 / 4


def test_squares_lie_anywhere_in_the_image() -> None:
    down, across = moves.inside_squares(IMAGE, 3, torch.tensor([[0.0, 0.0], [0.9999999, 0.99999]]))
    mask = moves.mask_of_squares(down, across, 3)[:, 0]
    assert mask[0, :3, :3].all() and mask[1, -3:, -3:].all()
    assert (mask.flatten(1).sum(dim=1) == 9).all()


def test_refuses_what_it_has_no_moves_for() -> None:
    targets = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(InputError, match="no L1 version"):
        square(Asked(), torch.rand(2, 9), targets, Threat("l1", 1.0))
    with pytest.raises(InputError, match="not 3 dimensions"):
        square(Asked(), torch.rand(2, 3, 3), targets, Threat("linf", 0.1))
