"""Sums over a stream against scikit-learn's solutions on all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeCV

from mlexpert.blocks.statistics.class_gaussians import ClassGaussians
from mlexpert.blocks.statistics.ridge import GRID, RidgeStatistics
from mlexpert.errors import InputError


def rows(count: int = 400, features: int = 12, classes: int = 4) -> tuple[torch.Tensor, ...]:
    """Rows of overlapping classes of unequal size, whose features are correlated."""
    generator = torch.Generator().manual_seed(3)
    targets = (torch.rand(count, generator=generator) ** 2 * classes).long()
    centres = torch.randn(classes, features, generator=generator)
    mixing = torch.randn(features, features, generator=generator)
    noise = torch.randn(count, features, generator=generator) @ mixing
    return (5 + centres[targets] + noise).float(), targets


def added(statistics, inputs, targets, order, weights=None, pieces=7):
    """Return the statistics with rows added in this order, some at a time."""
    for piece in order.tensor_split(pieces):
        own = None if weights is None else weights[piece]
        statistics.add(inputs[piece], targets[piece], own)
    return statistics


def task_by_task(targets: torch.Tensor) -> torch.Tensor:
    return targets.argsort(stable=True)


def test_ridge_is_that_of_all_rows_at_once() -> None:
    inputs, targets = rows()
    found, penalty = added(RidgeStatistics(12, 4), inputs, targets, task_by_task(targets)).solve(3)
    whole = Ridge(alpha=3, fit_intercept=False).fit(inputs.double(), np.eye(4)[targets])
    assert penalty == 3 and found.dtype == torch.float64
    np.testing.assert_allclose(found, whole.coef_, atol=1e-4, rtol=0)


def test_ridge_does_not_depend_on_the_order_of_tasks() -> None:
    inputs, targets = rows()
    orders = (task_by_task(targets), task_by_task(-targets), torch.randperm(len(targets)))
    found = [added(RidgeStatistics(12, 4), inputs, targets, order).solve() for order in orders]
    for weight, penalty in found[1:]:
        torch.testing.assert_close(weight, found[0][0], atol=1e-6, rtol=0)
        assert penalty == pytest.approx(found[0][1], rel=1e-6)


def test_the_penalty_is_the_one_that_generalised_cross_validation_takes() -> None:
    inputs, targets = rows(60, 40)
    wide, one_hot = inputs.double().numpy(), np.eye(4)[targets]
    found, penalty = added(RidgeStatistics(40, 4), inputs, targets, torch.arange(60)).solve()
    errors = []
    for alpha in (GRID * float(np.mean(np.sum(wide**2, axis=0)))).tolist():
        hat = wide @ np.linalg.solve(wide.T @ wide + alpha * np.eye(40), wide.T)
        left = one_hot - hat @ one_hot
        errors.append(np.sum(left**2) / (60 - np.trace(hat)) ** 2)
    scale = float(np.mean(np.sum(wide**2, axis=0)))
    assert penalty == pytest.approx(float(GRID[int(np.argmin(errors))]) * scale, rel=1e-4)
    whole = Ridge(alpha=penalty, fit_intercept=False).fit(wide, one_hot)
    np.testing.assert_allclose(found, whole.coef_, atol=1e-4, rtol=0)
    # Leaving rows out one by one, which does not follow from the sums, asks for nearly the same.
    left_out = RidgeCV(alphas=(GRID * scale).tolist(), fit_intercept=False).fit(wide, one_hot)
    assert 0.1 < penalty / left_out.alpha_ < 10


def test_more_features_than_rows_are_not_interpolated() -> None:
    """There every small penalty leaves residuals and freedom that are nothing but rounding."""
    inputs, targets = rows(60, 300)
    found, penalty = added(RidgeStatistics(300, 4), inputs, targets, torch.arange(60)).solve()
    left, values, _ = torch.linalg.svd(inputs.double(), full_matrices=False)
    power = (left.T @ torch.eye(4, dtype=torch.float64)[targets]).square().sum(dim=1)
    penalties = GRID * (values.square().sum() / 300)
    shares = penalties[:, None] / (values.square() + penalties[:, None])  # (L, 60)
    error = (shares.square() * power).sum(dim=1) / shares.sum(dim=1).square()
    best = error.masked_fill((shares.square() * power).sum(dim=1) < 1e-8 * 60, torch.inf).argmin()
    assert penalty == pytest.approx(float(penalties[best]), rel=1e-6)
    whole = Ridge(alpha=penalty, fit_intercept=False, solver="svd").fit(
        inputs.double(), np.eye(4)[targets]
    )
    np.testing.assert_allclose(found, whole.coef_, atol=1e-6, rtol=0)


def test_a_penalty_that_is_lost_in_rounding_is_solved_for_all_the_same() -> None:
    inputs, targets = rows(60, 300)
    statistics = added(RidgeStatistics(300, 4), inputs, targets, torch.arange(60))
    found, penalty = statistics.solve(1e-30)
    assert penalty == 1e-30 and found.isfinite().all()


def test_a_weight_counts_as_so_many_rows() -> None:
    inputs, targets = rows()
    weights = torch.randint(0, 4, (400,)).float()
    repeated = torch.arange(400).repeat_interleave(weights.long())
    for make in (RidgeStatistics, ClassGaussians):
        one = added(make(12, 4), inputs, targets, torch.arange(400), weights)
        other = added(make(12, 4), inputs, targets, repeated)
        for name, value in one.state_dict().items():
            torch.testing.assert_close(value, other.state_dict()[name], atol=1e-2, rtol=1e-5)


def test_classes_that_have_not_come_weigh_nothing() -> None:
    inputs, targets = rows()
    first = targets < 2
    found, _ = added(
        RidgeStatistics(12, 4), inputs[first], targets[first], torch.arange(20)
    ).solve()
    assert found[2:].abs().max() == 0 and found[:2].abs().min() > 0
    weight, bias = added(
        ClassGaussians(12, 4), inputs[first], targets[first], torch.arange(int(first.sum()))
    ).solve(0.1)
    logits = inputs[first] @ weight.T.float() + bias.float()
    assert logits.isfinite().all() and (logits.argmax(dim=1) < 2).all()


@pytest.mark.parametrize("shrinkage", [1e-4, 0.3, 1.0])
def test_discriminants_are_those_of_all_rows_at_once(shrinkage: float) -> None:
    inputs, targets = rows()
    whole = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    whole.fit(inputs.double().numpy(), targets.numpy())
    for order in (task_by_task(targets), torch.randperm(len(targets))):
        weight, bias = added(ClassGaussians(12, 4), inputs, targets, order).solve(shrinkage)
        np.testing.assert_allclose(weight, whole.coef_, atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(bias, whole.intercept_, atol=1e-6, rtol=1e-6)


def test_the_scatter_is_exact_far_from_zero() -> None:
    """Sums of squares would lose it: 1e6 squared has no digits left for a deviation of 1e-3."""
    values = torch.tensor([[0.0], [1e-3], [2e-3]], dtype=torch.float64) + 1e6
    found = added(ClassGaussians(1, 1), values, torch.zeros(3).long(), torch.arange(3), pieces=3)
    assert found.scatter.item() == pytest.approx(float(values.var() * 2), rel=1e-6)


def test_bytes_are_said() -> None:
    assert RidgeStatistics(10, 3).nbytes == 8 * (10 * 10 + 10 * 3 + 1)
    assert ClassGaussians(10, 3).nbytes == 8 * (10 * 10 + 3 * 10 + 3)


def test_rows_without_any_spread_are_refused() -> None:
    one = ClassGaussians(2, 2)
    one.add(torch.eye(2), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="same features"):
        one.solve(0.1)
