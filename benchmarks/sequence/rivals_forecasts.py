"""Forecasts of others: NLinear and PatchTST of neuralforecast, and two that nobody has to train.

All are scored as ours: in standard deviations of train, every window of the test rows, every step
and column alike.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import peers
from borrowed import Clock
from protocol import LAST, NF_NLINEAR
from reading import Series

Found = dict[str, Any]
STEPS = 1000
"""Of the optimizer, neuralforecast's default: a step of its takes long, see README.md."""


def by_hand(method: str, rows: Series, context: int, horizon: int, period: int) -> Found:
    """Return the errors of the last value, or of the season before, as forecasts."""
    values = standardised(rows)[-1]
    windows = np.lib.stride_tricks.sliding_window_view(values, context + horizon, axis=0)
    clock, sums = Clock(), np.zeros(2)
    for window in windows:  # (C, L + H)
        past, true = window[:, :context], window[:, context:]
        steps = np.arange(horizon)
        back = steps * 0 - 1 if method == LAST else steps % period - period
        off = past[:, back] - true
        sums += np.square(off).mean(), np.abs(off).mean()
    mse, mae = (sums / len(windows)).tolist()
    seconds = {f"loop_{unit}": value for unit, value in clock.lap().items()}
    return {**seconds, "mse": mse, "mae": mae, "windows": len(windows)}


def by_neuralforecast(
    method: str, rows: Series, context: int, horizon: int, lr: float, *, smoke: bool
) -> Found:
    """Train NLinear or PatchTST on all columns together, one after the other as series."""
    peers.reach()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    from neuralforecast import NeuralForecast

    train, validation, test = standardised(rows)
    test = test[context:]  # the rows before it are those of validation
    values, columns = np.concatenate([train, validation, test]), train.shape[1]
    model = model_of(method, context, horizon, columns, lr, steps=4 if smoke else STEPS)
    times = pd.date_range("2000-01-01", periods=len(values), freq="h")
    table = pd.concat(
        pd.DataFrame({"unique_id": str(column), "ds": times, "y": values[:, column]})
        for column in range(columns)
    )
    clock = Clock()
    said = NeuralForecast(models=[model], freq="h").cross_validation(
        table, val_size=len(validation), test_size=len(test), n_windows=None, verbose=0
    )
    # It forecasts in the same call; that is a small part of it.
    seconds = {f"loop_{unit}": value for unit, value in clock.lap().items()}
    off = said[type(model).__name__].to_numpy() - said["y"].to_numpy()
    windows = len(off) / columns / horizon
    assert windows == len(test) - horizon + 1, f"{windows} windows"
    return {
        **seconds,
        "mse": float(np.square(off).mean()),
        "mae": float(np.abs(off).mean()),
        "windows": int(windows),
        "parameters": sum(one.numel() for one in model.parameters()),
    }


def model_of(
    method: str, context: int, horizon: int, columns: int, lr: float, *, steps: int
) -> Any:
    """Return the model with the settings of its paper, as far as it takes them."""
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import NLinear, PatchTST

    is_linear = method == NF_NLINEAR
    shared: Mapping[str, Any] = {
        "h": horizon,
        "input_size": context,
        "loss": MSE(),
        "valid_loss": MSE(),
        "max_steps": steps,
        "val_check_steps": max(1, steps // 10),
        "early_stop_patience_steps": 3,
        "batch_size": columns,
        "valid_batch_size": columns,
        "windows_batch_size": (32 if is_linear else 128) * columns,
        "inference_windows_batch_size": 1024,
        "scaler_type": "identity",
        "random_seed": 1,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    if is_linear:
        return NLinear(learning_rate=lr, num_lr_decays=9, **shared)
    return PatchTST(
        learning_rate=1e-3,
        num_lr_decays=3,
        hidden_size=16,
        n_heads=4,
        encoder_layers=3,
        linear_hidden_size=128,
        dropout=0.3,
        fc_dropout=0.3,
        patch_len=24 if horizon == 24 else 16,
        stride=2 if horizon == 24 else 8,
        **shared,
    )


def standardised(rows: Series) -> list[np.ndarray]:
    """Return the values (T, C) of each part, in standard deviations of train around its mean."""
    parts = [one.drop(columns="date").to_numpy(float) for one in (rows.train, rows.validation)]
    parts.append(rows.test.drop(columns="date").to_numpy(float))
    mean, std = parts[0].mean(axis=0), parts[0].std(axis=0)
    return [(one - mean) / std for one in parts]
