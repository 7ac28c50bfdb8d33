"""The parts of forecasters, each against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlexpert.blocks.backbones.dlinear import DLinear
from mlexpert.blocks.backbones.inverted_transformer import InvertedTransformer
from mlexpert.blocks.backbones.nlinear import NLinear
from mlexpert.blocks.backbones.patch_transformer import PatchTransformer
from mlexpert.blocks.losses.pinball import pinball
from mlexpert.blocks.statistics.ridge_map import RidgeMap
from mlexpert.families.forecast_baselines import seasonal_naive


def test_nlinear_is_its_formula() -> None:
    model, series = NLinear(8, 3, 2), torch.randn(4, 5, 8)
    last = series[..., -1:].numpy()
    weight, bias = (one.detach().numpy() for one in (model.linear.weight, model.linear.bias))
    expected = last + (series.numpy() - last) @ weight.T + bias
    np.testing.assert_allclose(model(series).detach().flatten(2), expected, atol=1e-5)


def test_dlinear_is_its_formula() -> None:
    model, series = DLinear(12, 3, kernel=5), torch.randn(4, 2, 12)
    torch.nn.init.normal_(model.trend.weight)
    values = series.numpy()
    padded = np.pad(values, [(0, 0), (0, 0), (2, 2)], mode="edge")
    trend = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=-1).mean(axis=-1)
    expected = sum(
        part @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
        for part, linear in ((values - trend, model.seasonal), (trend, model.trend))
    )
    np.testing.assert_allclose(model(series).detach()[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "model", [PatchTransformer(24, 6), InvertedTransformer(24, 6, dim=16, num_heads=2)]
)
def test_a_constant_on_what_was_seen_is_a_constant_on_the_forecast(model) -> None:
    series = torch.randn(2, 3, 24)
    model = model.eval()
    with torch.no_grad():
        np.testing.assert_allclose(model(series + 7.0), model(series) + 7.0, atol=1e-3)
        np.testing.assert_allclose(model(series * 4.0), model(series) * 4.0, atol=1e-2)


def test_patches_of_one_series_say_nothing_of_another() -> None:
    model, series = PatchTransformer(24, 6).eval(), torch.randn(2, 3, 24)
    other = series.clone()
    other[:, 1] += torch.randn(24)
    with torch.no_grad():
        same = torch.isclose(model(series), model(other), atol=1e-6).all(dim=-1).all(dim=-1)
    assert same.tolist() == [[True, False, True]] * 2


def test_columns_tell_of_each_other_in_the_inverted_transformer() -> None:
    model = InvertedTransformer(24, 6, dim=16, num_heads=2).eval()
    series = torch.randn(1, 3, 24)
    order = [2, 0, 1]
    with torch.no_grad():
        np.testing.assert_allclose(model(series[:, order]), model(series)[:, order], atol=1e-5)
        other = series.clone()
        other[:, 0] += torch.randn(24)
        assert not torch.allclose(model(other)[:, 1], model(series)[:, 1], atol=1e-6)


def test_ridge_is_that_of_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    new_x, new_y = rng.normal(size=(40, 5)), rng.normal(size=(40, 2)) + rng.normal(size=(40, 1))
    sums, judge = RidgeMap(5, 2), RidgeMap(5, 2)
    for rows in np.array_split(np.arange(60), 7):
        sums.add(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
    judge.add(torch.from_numpy(new_x), torch.from_numpy(new_y))
    weight, penalty = sums.solve(judge)
    lam = penalty * np.linalg.eigvalsh(x.T @ x).mean()
    if penalty:
        expected = np.linalg.solve(x.T @ x + lam * np.eye(5), x.T @ y)
        np.testing.assert_allclose(weight, expected, atol=1e-10)
    assert judge.error(weight) == pytest.approx(((new_x @ weight.numpy() - new_y) ** 2).mean())
    assert judge.error(weight) <= (new_y**2).mean()


def test_pinball_is_least_at_the_quantile() -> None:
    values = torch.from_numpy(np.random.default_rng(0).exponential(size=1001))
    for level in (0.1, 0.5, 0.9):
        tried = torch.linspace(0, 4, 801, dtype=torch.float64)
        losses = pinball(
            tried[:, None, None].expand(-1, 1001, 1),
            values.expand(801, -1),
            torch.tensor([level], dtype=torch.float64),
        ).mean(dim=1)
        assert tried[losses.argmin()] == pytest.approx(np.quantile(values, level), abs=0.01)


def test_seasonal_naive_is_that_of_a_loop() -> None:
    seen = np.random.default_rng(0).normal(size=17)
    for period, horizon in ((5, 13), (1, 4), (17, 20)):
        expected = list(seen)
        for _ in range(horizon):
            expected.append(expected[-period])
        np.testing.assert_array_equal(seasonal_naive(seen, horizon, period), expected[17:])
    assert seasonal_naive(seen, 2, 18).tolist() == [seen[-1]] * 2  # no whole season was seen
