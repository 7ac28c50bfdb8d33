from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlexpert.blocks.importance.path_integral import PathIntegral


def test_adds_up_to_what_the_loss_fell_by() -> None:
    """Of small steps the sum over all weights is the loss's fall, to first order (equation 3)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    inputs, targets = torch.randn(40, 3).double(), torch.randn(40, 1).double()
    followed = PathIntegral(model)
    followed.begin(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(400):
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        losses.append(loss.item())
        loss.backward()
        followed.before_step(model)
        optimizer.step()
        followed.after_step(model)
    fall = losses[0] - F.mse_loss(model(inputs), targets).item()
    total = sum(value.sum().item() for value in followed.path.buffers())
    assert fall > 0.05 and total == pytest.approx(fall, rel=0.01)


def test_is_the_definition_for_any_optimiser() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 2, bias=False)
    followed = PathIntegral(model)
    followed.begin(model)
    start, expected = model.weight.detach().clone(), torch.zeros(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (model.weight - 3.0).square().sum().backward()
        grad, before = model.weight.grad.clone(), model.weight.detach().clone()
        followed.before_step(model)
        model.weight.grad *= 7.0  # what else the optimiser is given does not count
        optimizer.step()
        followed.after_step(model)
        expected -= grad * (model.weight.detach() - before)
    omega = followed.importance(model, epsilon=0.1)["weight"]
    moved = model.weight.detach() - start
    torch.testing.assert_close(omega, expected / (moved.square() + 0.1))
    followed.begin(model)
    assert followed.importance(model, epsilon=0.1)["weight"].abs().max() == 0


def test_a_skipped_step_and_a_frozen_weight_count_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    followed = PathIntegral(model)
    followed.begin(model)
    model[0].requires_grad_(False)
    model(torch.ones(1, 2)).sum().backward()
    followed.before_step(model)
    followed.before_step(model)  # the step between was skipped
    with torch.no_grad():
        model[1].weight -= 1.0
    followed.after_step(model)
    followed.after_step(model)
    assert set(followed.importance(model, epsilon=1.0)) == {"1.weight", "1.bias"}
    torch.testing.assert_close(followed.path["1.weight"], model[1].weight.grad)
    assert followed.path["0.weight"].abs().max() == 0


def test_is_all_in_the_state() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    followed = PathIntegral(model)
    followed.begin(model)
    model(torch.ones(1, 2)).sum().backward()
    followed.before_step(model)
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    followed.after_step(model)
    other = PathIntegral(copy.deepcopy(model))
    other.load_state_dict(followed.state_dict())
    for name, value in followed.importance(model, epsilon=0.1).items():
        assert value.abs().max() > 0
        assert torch.equal(other.importance(model, epsilon=0.1)[name], value)
