"""What a forecast is measured against: the season before, exponential smoothing, autoregression."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from mlexpert.errors import InputError

Forecast = Callable[[np.ndarray, int, int], np.ndarray]
"""Maps a series (L,), the steps to forecast H and the steps of a season to (H,)."""


def seasonal_naive(seen: Any, horizon: int, period: int) -> Any:
    """Return for each step the last value seen at its place in the season.

    Args:
        seen: (..., L) array or tensor.
        horizon: Steps to forecast, H.
        period: Steps of a season. Where there are not as many, the last value is taken.

    Returns:
        (..., H).

    Example:
        >>> seasonal_naive(np.array([1, 2, 3, 4]), 3, 2).tolist()
        [3, 4, 3]
    """
    length = seen.shape[-1]
    season = period if period <= length else 1
    places = [length - season + step % season for step in range(horizon)]
    return seen[..., places]


def exponential_smoothing(seen: np.ndarray, horizon: int, period: int) -> np.ndarray:
    """Return the forecast (H,) of additive exponential smoothing; needs statsmodels.

    Paper: Hyndman et al. 2002, doi:10.1016/S0169-2070(01)00110-8 (ETS with additive errors).

    Raises:
        InputError: If statsmodels is missing.
    """
    _require_statsmodels()
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    has_season = period > 1 and len(seen) >= 2 * period
    model = ExponentialSmoothing(
        seen,
        trend="add",
        damped_trend=True,
        seasonal="add" if has_season else None,
        seasonal_periods=period if has_season else None,
        initialization_method="estimated" if len(seen) >= 10 + 2 * has_season else "heuristic",
    )
    return _quietly(lambda: model.fit().forecast(horizon))


def autoregression(seen: np.ndarray, horizon: int, period: int) -> np.ndarray:
    """Return the forecast (H,) of an autoregression over a season of lags; needs statsmodels.

    Raises:
        InputError: If statsmodels is missing.
    """
    _require_statsmodels()
    from statsmodels.tsa.ar_model import AutoReg

    lags = max(1, min(period + 1, (len(seen) - 2) // 3))
    return _quietly(lambda: AutoReg(seen, lags).fit().forecast(horizon))


BASELINES: dict[str, Forecast] = {
    "seasonal naive": seasonal_naive,
    "exponential smoothing": exponential_smoothing,
    "autoregression": autoregression,
}
"""By the name that reports give them."""


def _quietly(forecast: Callable[[], np.ndarray]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimisers that have not converged
        return np.asarray(forecast())


def _require_statsmodels() -> None:
    try:
        import statsmodels  # noqa: F401
    except ImportError as error:
        raise InputError(
            "this baseline needs statsmodels: pip install 'mlexpert[forecasting]'."
        ) from error
