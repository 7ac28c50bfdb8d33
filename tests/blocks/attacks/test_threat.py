"""The ball and the box hold to the last bit that rounding allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlexpert.blocks.attacks.noise import uniform
from mlexpert.blocks.attacks.threat import NORMS, Threat, onto_l1_ball
from mlexpert.errors import InputError

RADII = {"linf": 0.3, "l2": 1.5, "l1": 6.0}


def images(count: int = 200) -> torch.Tensor:
    pixels = uniform(torch.arange(count), torch.Size([1, 6, 6]), seed=5)
    return (pixels * 255).round() / 255


@pytest.mark.parametrize("epsilon", [0.3, 8 / 255, 1 / 3, 1e-3])
def test_linf_never_rounds_beyond_epsilon(epsilon: float) -> None:
    threat, inputs = Threat("linf", epsilon), images()
    moved = threat.project(inputs + 2 * torch.randn_like(inputs), inputs)
    assert threat.distance(moved, inputs).max().item() <= epsilon  # in float64, without a slack
    assert moved.min() >= 0 and moved.max() <= 1


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_other_norms_hold_to_the_said_slack(norm: str) -> None:
    threat, inputs = Threat(norm, RADII[norm]), images()
    moved = threat.project(inputs + torch.randn_like(inputs), inputs)
    assert threat.distance(moved, inputs).max().item() <= RADII[norm]
    assert moved.min() >= 0 and moved.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_inside_stays(norm: str) -> None:
    threat, inputs = Threat(norm, RADII[norm]), images()
    moved = (inputs + 0.01 * torch.randn_like(inputs)).clamp(0, 1)
    torch.testing.assert_close(threat.project(moved, inputs), moved)


@pytest.mark.parametrize("norm", NORMS)
def test_no_direction_raises_a_linear_objective_more(norm: str) -> None:
    gradient = torch.randn(50, 100)
    threat = Threat(norm, 1.0)
    step = threat.ascend(gradient, 0.5)
    assert torch.allclose(
        threat.distance(step, torch.zeros_like(step)), torch.tensor(0.5).double(), atol=1e-6
    )
    gain = (gradient * step).sum(dim=1)
    dual = {"linf": gradient.abs().sum(dim=1), "l2": gradient.norm(dim=1)}
    if norm == "l1":  # one of a hundred coordinates is moved: the largest
        dual["l1"] = gradient.abs().amax(dim=1)
    torch.testing.assert_close(gain, 0.5 * dual[norm])


def test_l1_projection_is_the_nearest_point() -> None:
    scipy = pytest.importorskip("scipy.optimize")
    change = torch.randn(5, 6, dtype=torch.float64) * 2
    for row, found in zip(change, onto_l1_ball(change, 1.0), strict=True):
        nearest = scipy.minimize(
            lambda point, row=row: np.square(point[:6] - point[6:] - row.numpy()).sum(),
            np.full(12, 0.05),
            bounds=[(0, None)] * 12,
            constraints={"type": "ineq", "fun": lambda point: 1.0 - point.sum()},
        ).x
        torch.testing.assert_close(
            found, torch.tensor(nearest[:6] - nearest[6:]), atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_fill_the_ball(norm: str) -> None:
    inputs = torch.full((4000, 3), 0.5)
    threat = Threat(norm, 0.4)
    noise = uniform(torch.arange(4000), torch.Size([3]), seed=1)
    distance = threat.distance(threat.random_start(inputs, noise), inputs) / 0.4
    # Uniform in the ball: the share within a radius r is r^D.
    for radius in (0.5, 0.8):
        assert (distance < radius).double().mean().item() == pytest.approx(radius**3, abs=0.03)
    assert distance.max() <= 1


def test_budgets_hold_column_by_column() -> None:
    threat = Threat("linf", torch.tensor([0.0, 2.0]), torch.tensor([0.0, -5.0]), torch.tensor(9.0))
    inputs = torch.tensor([[3.0, 1.0], [8.0, -4.5], [-1.0, float("nan")]])
    lower, upper = threat.bounds(inputs)
    assert lower[:2].tolist() == [[3.0, -1.0], [8.0, -5.0]]
    assert upper[:2].tolist() == [[3.0, 3.0], [8.0, -2.5]]
    moved = threat.project(inputs + 10, inputs)
    assert moved[2, 0] == -1.0, "what lies outside of the box by itself is not dragged into it"
    assert moved[2, 1].isnan(), "a missing value stays missing"
    step = threat.ascend(torch.tensor([[1.0, -1.0]]), 0.5)
    assert step.tolist() == [[0.0, -1.0]]
    assert threat.ascend(torch.tensor([[1.0, float("nan")]]), 0.5).tolist() == [[0.0, 0.0]]


def test_refuses_what_is_no_threat() -> None:
    with pytest.raises(InputError, match="'linf', 'l2', 'l1'"):
        Threat("l0", 0.1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 or more"):
        Threat("linf", -0.1)
    with pytest.raises(InputError, match="needs norm='linf'"):
        Threat("l2", torch.tensor([0.1, 0.2]))


def test_numbers_belong_to_a_sample_and_are_uniform() -> None:
    ids = torch.arange(300)
    both = uniform(ids, torch.Size([200]), seed=3)
    assert torch.equal(uniform(ids[17:18], torch.Size([200]), seed=3), both[17:18])
    assert not torch.equal(uniform(ids, torch.Size([200]), seed=4), both)
    assert not torch.equal(uniform(ids, torch.Size([200]), seed=3, stream=1), both)
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(both.flatten().numpy(), "uniform").pvalue > 1e-3
    among_rows = torch.corrcoef(both).fill_diagonal_(0).abs()
    assert among_rows.max() < 6 / 200**0.5
