"""Ridge regression by rows left out, beside scikit-learn and beside leaving them out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mlexpert.blocks.statistics.leave_one_out import ridge_by_leave_one_out

SHAPES = pytest.mark.parametrize(("rows", "width"), [(30, 80), (60, 12), (25, 25)])


def problem(rows: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(rows, width) * torch.linspace(0.5, 2, width) + 3
    y = x @ torch.randn(width, 2) / width**0.5 + 0.5 * torch.randn(rows, 2)
    return x, y, torch.rand(rows) + 0.2


def mean_eigenvalue(x: torch.Tensor, part: torch.Tensor) -> float:
    """Return the mean of the eigenvalues above 0 of the centred rows' products."""
    centred = (x.double() - (part / part.sum()) @ x.double()) * part.sqrt()[:, None]
    values = torch.linalg.eigvalsh(centred @ centred.T)
    return float(values[values > 1e-9].mean())


@SHAPES
@pytest.mark.parametrize("weighted", [False, True])
def test_solution_is_that_of_scikit_learn(rows: int, width: int, weighted: bool) -> None:
    x, y, weights = problem(rows, width)
    own = weights if weighted else None
    found = ridge_by_leave_one_out(x, y, own)
    part = (torch.ones(rows) if own is None else own).double()
    alpha = found.penalty * mean_eigenvalue(x, part)
    peer = Ridge(alpha=alpha, tol=1e-10)
    peer.fit(x.double().numpy(), y.double().numpy(), None if own is None else own.numpy())
    assert np.allclose(found.weight.T, peer.coef_, atol=1e-5)
    assert np.allclose(found.bias, peer.intercept_, atol=1e-4)


@SHAPES
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_left_out_are_those_of_fits_without_them(
    rows: int, width: int, weighted: bool
) -> None:
    x, y, weights = problem(rows, width)
    own = weights if weighted else None
    found = ridge_by_leave_one_out(x, y, own)
    part = (torch.ones(rows) if own is None else own).double()
    alpha = found.penalty * mean_eigenvalue(x, part)
    for row in range(0, rows, 7):
        others = [one for one in range(rows) if one != row]
        peer = Ridge(alpha=alpha, tol=1e-10)
        peer.fit(x[others].double(), y[others].double(), part[others])
        said = peer.predict(x[row : row + 1].double())[0]
        assert np.allclose(found.left_out[row], said, atol=1e-4)


@pytest.mark.parametrize(("rows", "width"), [(50, 200), (200, 5)])
def test_noise_alone_gets_a_large_penalty_and_a_line_a_small_one(rows: int, width: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(rows, width)
    assert ridge_by_leave_one_out(x, torch.randn(rows, 1)).penalty > 0.1
    assert ridge_by_leave_one_out(x, x @ torch.ones(width, 1)).penalty < 1e-2


def test_features_that_say_nothing_give_the_mean() -> None:
    found = ridge_by_leave_one_out(torch.ones(6, 4), torch.arange(6.0)[:, None])
    assert not found.weight.abs().max() > 1e-6 and float(found.bias) == pytest.approx(2.5)
    assert found.left_out.isfinite().all()
