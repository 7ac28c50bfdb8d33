"""Forecasts of series: what is fitted on what, in which units, and against what they are held."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import mlexpert
from mlexpert.cli import app
from mlexpert.copying import copy_recipe, recipe_in
from mlexpert.errors import InputError
from mlexpert.families.forecast_baselines import BASELINES, autoregression
from mlexpert.fitted.forecasting import FittedForecaster
from mlexpert.fitting.forecast_validation import rolling_validation
from mlexpert.recipes import get
from mlexpert.training.interrupt import Interrupted
from mlexpert.training.step import Step

NAMES = [
    "forecasting",
    "forecasting/nlinear",
    "forecasting/dlinear",
    "forecasting/patchtst",
    "forecasting/itransformer",
]
TRAINED = NAMES[1:]
L, H = 24, 6
every_recipe = pytest.mark.parametrize("name", NAMES)


def waves(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Two noisy daily waves around levels of their own."""
    rng, hours = np.random.default_rng(seed), np.arange(rows)
    wave = np.sin(2 * np.pi * hours / 24)
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "a": 50 + 10 * wave + rng.normal(size=rows),
            "b": -3 + np.roll(wave, 6) + 0.1 * rng.normal(size=rows),
        }
    )


def quick(name: str, **fields):
    small = {"patchtst": {"patch": 8, "stride": 4}, "itransformer": {"dim": 16, "num_heads": 2}}
    own = small.get(name.partition("/")[2], {})
    given = {"context": L, "horizon": H, "epochs": 2, "microbatch": None, "precision": "fp32"}
    return get(name, **{**given, **own, **fields})


def fit(recipe, ds, run_dir: Path, **roles) -> FittedForecaster:
    fitted = recipe.fit(ds, run_dir=run_dir, progress=False, **roles)
    assert isinstance(fitted, FittedForecaster)
    return fitted


def weights(fitted: FittedForecaster) -> torch.Tensor:
    state = fitted.parts.network.model.state_dict().values()
    return torch.cat([value.double().flatten() for value in state])


@every_recipe
def test_fits_saves_and_forecasts_in_the_users_units(name: str, tmp_path: Path) -> None:
    frame = waves()
    fitted = fit(quick(name), frame, tmp_path / "run")
    loaded = mlexpert.load(fitted.save(tmp_path / "model"))
    assert isinstance(loaded, FittedForecaster)
    said = loaded.forecast(context=frame)
    assert list(said.columns) == ["time", "a", "b"] and len(said) == H
    assert said["time"].iloc[0] == frame["time"].iloc[-1] + pd.Timedelta("1h")
    pd.testing.assert_frame_equal(said, fitted.forecast(context=frame))
    # By hand: the training rows' scale, the backbone, and the scale undone.
    train = frame[["a", "b"]].to_numpy()[: round(0.7 * 300)]
    mean, std = train.mean(axis=0), train.std(axis=0)
    seen = ((frame[["a", "b"]].to_numpy()[-L:] - mean) / std).T
    with torch.no_grad():
        steps = fitted.parts.network.model.backbone(torch.from_numpy(seen)[None].float())
    expected = steps[0, :, :, 0].numpy().T * std + mean
    np.testing.assert_allclose(said[["a", "b"]], expected, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "run/sequences.json").read_text())["baselines"]


@every_recipe
def test_quantiles_are_in_order_and_the_median_is_the_point(name: str, tmp_path: Path) -> None:
    fitted = fit(quick(name, quantiles=[0.1, 0.5, 0.9]), waves(), tmp_path)
    said = fitted.forecast()
    assert list(said.columns) == ["time", "target", "forecast", "0.1", "0.5", "0.9"]
    assert len(said) == 2 * H and (said["forecast"] == said["0.5"]).all()
    assert (said["0.1"] <= said["0.5"]).all() and (said["0.5"] <= said["0.9"]).all()
    assert {"quantile_loss", "coverage", "mase"} <= set(fitted.evaluate())


def test_empirical_quantiles_cover_what_they_say(tmp_path: Path) -> None:
    fitted = fit(get("forecasting", context=24, horizon=4, quantiles=[0.1, 0.5, 0.9]),
                 waves(3000), tmp_path)  # fmt: skip
    assert fitted.final_test(reason="coverage")["coverage"] == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("name", TRAINED)
def test_resuming_equals_not_stopping(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, frame = quick(name), waves()
    whole = fit(recipe, frame, tmp_path / "whole")
    steps, step = 0, Step.__call__

    def stop(self, *args, **named):
        nonlocal steps
        steps += 1
        if steps == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", stop)
        with pytest.raises(Interrupted):
            fit(recipe, frame, tmp_path / "broken")
    assert torch.equal(weights(whole), weights(fit(recipe, frame, tmp_path / "broken")))


@every_recipe
def test_a_copy_is_a_recipe_of_its_own(name: str, tmp_path: Path) -> None:
    copied = recipe_in(copy_recipe(name, tmp_path / "mine.py"))
    recipe = copied(**quick(name).config())
    fitted = fit(recipe, waves(), tmp_path / "run")
    again = mlexpert.load(tmp_path / "run", recipe=copied)
    assert fitted.evaluate(waves()) == again.evaluate(waves())


def test_metrics_are_of_every_window_whatever_the_batch(tmp_path: Path) -> None:
    frame = waves()
    first = fit(quick("forecasting", batch_size=7), frame, tmp_path / "1")
    other = fit(quick("forecasting", batch_size=200), frame, tmp_path / "2")
    assert first.evaluate()["forecast_mse"] == pytest.approx(other.evaluate()["forecast_mse"])
    assert first.facts["best"]["forecast_mse"] == pytest.approx(first.evaluate()["forecast_mse"])
    # By hand, in standard units of train.
    values = frame[["a", "b"]].to_numpy()
    scaled = (values - values[:210].mean(axis=0)) / values[:210].std(axis=0)
    weight = first.parts.network.model.backbone.linear.weight.detach().numpy()
    errors = []
    for origin in range(210, 255 - H + 1):
        seen, last = scaled[origin - L : origin], scaled[origin - 1]
        errors.append(last + weight @ (seen - last) - scaled[origin : origin + H])
    assert first.evaluate()["forecast_mse"] == pytest.approx(np.square(errors).mean(), rel=1e-4)


def test_the_scale_is_that_of_train_alone(tmp_path: Path) -> None:
    frame = waves()
    frame.loc[210:, "a"] += 1000.0
    stats = fit(quick("forecasting"), frame, tmp_path).schema.timeline
    np.testing.assert_allclose(stats.mean, frame[["a", "b"]][:210].mean())
    np.testing.assert_allclose(stats.std, frame[["a", "b"]][:210].std(ddof=0))


def test_a_constant_series_is_forecast_as_it_is(tmp_path: Path) -> None:
    said = fit(quick("forecasting"), waves().assign(b=4.0), tmp_path).forecast()
    np.testing.assert_allclose(said["b"], 4.0)


def test_what_is_forecast_is_never_seen(tmp_path: Path) -> None:
    fitted = fit(quick("forecasting", past_covariates=["b"]), waves(), tmp_path)
    windows = torch.randn(3, L + H, 2, dtype=torch.float64)
    other = windows.clone()
    other[:, L:] = torch.nan
    with torch.no_grad():
        model = fitted.parts.network.model
        assert torch.equal(model(windows), model(other))


@pytest.mark.parametrize("name", ["forecasting", "forecasting/nlinear"])
def test_covariates_known_ahead_are_made_use_of(name: str, tmp_path: Path) -> None:
    frame, rng = waves(600), np.random.default_rng(1)
    frame["sale"] = rng.integers(0, 2, 600).astype(float)
    frame["a"] += 30 * frame["sale"]
    recipe = quick(name, future_covariates=["sale"], epochs=8, lr=2e-2)
    fitted = fit(recipe, frame, tmp_path / "with", target="a")
    blind = fit(quick(name, epochs=8, lr=2e-2), frame, tmp_path / "without", target="a")
    assert fitted.evaluate()["forecast_mse"] < 0.5 * blind.evaluate()["forecast_mse"]
    newest = frame[:500]
    future = frame[500:504][["time", "sale"]]
    said = fitted.forecast(4, context=newest, future=future)
    np.testing.assert_allclose(said["a"], frame["a"][500:504], atol=12)
    with pytest.raises(InputError, match="future= is needed.*'time', 'sale'"):
        fitted.forecast(4, context=newest)
    with pytest.raises(InputError, match="lacks 1 of 4 times, first 2024-01-21T23"):
        fitted.forecast(4, context=newest, future=future[:3])
    with pytest.raises(InputError, match="no value of 'sale'"):
        fitted.forecast(4, context=newest, future=future.assign(sale=np.nan))
    with pytest.raises(InputError, match="lacks the column.*'sale'"):
        fitted.forecast(4, context=newest, future=future[["time"]])
    with pytest.raises(InputError, match="without future_covariates"):
        blind.forecast(4, context=newest, future=future)


def test_covariates_known_up_to_now_are_made_use_of(tmp_path: Path) -> None:
    frame, rng = waves(600), np.random.default_rng(1)
    frame["lead"] = rng.normal(size=600)
    frame["a"] += 20 * frame["lead"].shift(H, fill_value=0.0)
    with_it = fit(quick("forecasting", past_covariates=["lead"]), frame, tmp_path / "1", target="a")
    without = fit(quick("forecasting"), frame, tmp_path / "2", target="a")
    assert with_it.evaluate()["forecast_mse"] < 0.5 * without.evaluate()["forecast_mse"]


def test_several_series_are_forecast_by_name(tmp_path: Path) -> None:
    frame = pd.concat([waves().assign(shop="x"), waves(seed=1)[:280].assign(shop="y")])
    fitted = fit(quick("forecasting"), frame, tmp_path, group="shop")
    said = fitted.forecast(2, context=frame)
    assert said["shop"].tolist() == ["x", "x", "y", "y"]
    assert said["time"].iloc[2] == waves()["time"][280]
    alone = fitted.forecast(2, context=frame[frame["shop"] == "y"])
    pd.testing.assert_frame_equal(alone, said[2:].reset_index(drop=True))


def test_the_forecast_begins_where_the_seal_does(tmp_path: Path) -> None:
    frame = waves()
    fitted = fit(quick("forecasting"), frame, tmp_path)
    said = fitted.forecast()
    assert said["time"].iloc[0] == frame["time"][255]
    pd.testing.assert_frame_equal(said, fitted.forecast(context=frame[:255]))


@every_recipe
def test_refusals(name: str) -> None:
    for fields, message in (
        ({"horizon": 0}, "horizon=0"),
        ({"quantiles": [0.1, 0.9]}, "quantiles="),
        ({"quantiles": [0.9, 0.5]}, "quantiles="),
        ({"fill": "mean"}, "fill="),
        ({"past_covariates": [1]}, "past_covariates="),
    ):
        with pytest.raises(InputError, match=message):
            quick(name, **fields)


def test_data_and_roles_are_refused_before_training(tmp_path: Path) -> None:
    recipe = quick("forecasting")
    with pytest.raises(InputError, match="29 rows; context=24 and horizon=6 need 30"):
        recipe.fit(waves(29), run_dir=tmp_path)
    with pytest.raises(InputError, match="takes no inputs="):
        recipe.fit(waves(), inputs="a", run_dir=tmp_path)
    with pytest.raises(InputError, match="takes no subgroups="):
        recipe.fit(waves(), subgroups="a", run_dir=tmp_path)
    with pytest.raises(InputError, match="folds="):
        recipe.fit(waves(), folds=3, run_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_questions_that_cannot_be_answered_are_refused(tmp_path: Path) -> None:
    fitted = fit(quick("forecasting"), waves(), tmp_path)
    for asked, message in (
        (lambda: fitted.forecast(H + 1), "trained to forecast 6 steps"),
        (lambda: fitted.forecast(0), "horizon=0"),
        (lambda: fitted.forecast(context=waves(20)), "20 rows; the model looks at 24"),
        (lambda: fitted.forecast(context=waves()[["time", "a"]]), "'b' are missing"),
        (lambda: fitted.forecast(context=waves()[::2]), "come every 2h"),
        (lambda: fitted.predict(waves()), "forecast"),
        (lambda: fitted.backtest(every=0), "every=0"),
        (lambda: mlexpert.load(fitted.save(tmp_path / "m")).forecast(), "needs a run"),
    ):
        with pytest.raises(InputError, match=message):
            asked()


def test_backtest_is_that_of_forecasts_from_each_origin(tmp_path: Path) -> None:
    frame = waves()
    fitted = fit(quick("forecasting"), frame, tmp_path)
    table = fitted.backtest(frame, every=50)
    assert len(table) == 2 * 6 and table["origin"].is_monotonic_increasing
    row = table[table["target"] == "a"].iloc[3]
    at = frame.index[frame["time"] == row["origin"]][0] + 1
    said = fitted.forecast(context=frame[:at])
    off = said["a"].to_numpy() - frame["a"][at : at + H].to_numpy()
    naive = frame["a"][at - 24 : at - 24 + H].to_numpy() - frame["a"][at : at + H].to_numpy()
    assert row["mae"] == pytest.approx(np.abs(off).mean(), rel=1e-4)
    assert row["rmse"] == pytest.approx(np.sqrt(np.square(off).mean()), rel=1e-4)
    assert row["mase"] == pytest.approx(np.abs(off).mean() / np.abs(naive).mean(), rel=1e-4)
    assert len(fitted.backtest()) == 2 * len(range(0, 45 - H + 1, H))


def test_baselines_are_beside_the_model(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    fitted = fit(quick("forecasting", context=72), waves(600), tmp_path)
    table = fitted.baselines(windows=3)
    assert set(table["name"]) == {"forecasting", *BASELINES}
    assert table["mse"].is_monotonic_increasing
    line = np.arange(40.0)  # which an autoregression continues
    np.testing.assert_allclose(autoregression(line, 3, 1), [40, 41, 42], atol=1e-6)


def test_rolling_validation_judges_only_what_comes_later() -> None:
    table = rolling_validation(quick("forecasting"), waves(600), folds=3)
    assert (table["train_until"] < table["from"]).all()
    assert (table["until"][:-1].to_numpy() < table["from"][1:].to_numpy()).all()
    assert table["until"].iloc[-1] < waves(600)["time"][510]  # the sealed rows are left alone
    assert table["train_until"].is_monotonic_increasing
    assert (table["windows"] == 102 - H + 1).all() and (table["mase"] < 1).all()
    with pytest.raises(InputError, match="folds=0"):
        rolling_validation(quick("forecasting"), waves(), folds=0)


def test_the_command_line_fits_and_forecasts(cwd: Path) -> None:
    waves().to_csv("rows.csv", index=False)
    call = CliRunner().invoke
    fields = ["--set", "context=24", "--set", "horizon=6", "--run-dir", "run"]
    done = call(app("forecasting"), ["fit", "forecasting", "rows.csv", *fields])
    assert done.exit_code == 0, done.output
    shown = call(app(), ["forecast", "run", "rows.csv", "--horizon", "2"])
    assert shown.exit_code == 0 and "2024-01-13 13:00:00" in shown.output
    done = call(app(), ["forecast", "run", "rows.csv", "--out", "said.csv"])
    assert done.exit_code == 0 and len(pd.read_csv("said.csv")) == H
    assert call(app(), ["forecast", "run", "rows.csv", "--horizon", "7"]).exit_code == 2


def test_ett_is_forecast_better_than_the_published_linear_models(
    real_data: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(real_data / "ETTh1.csv.gz")[:14400]
    ds = {"train": frame[:8640], "validation": frame[8640:11520], "test": frame[11520:]}
    fitted = fit(get("forecasting"), ds, tmp_path)
    found = fitted.final_test(reason="the published protocol")
    assert 0.36 < found["forecast_mse"] < 0.374 and found["mase"] < 1
