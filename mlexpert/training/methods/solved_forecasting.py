"""Forecasters that are solved for, not trained: ridge regressions whose penalty validation chooses.

Paper: Toner and Darlow 2024, arXiv:2403.14587 (linear forecasters have closed-form solutions, which
    are as good as the trained ones or better).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.forecaster import Forecaster
from mlexpert.blocks.backbones.nlinear import NLinear
from mlexpert.blocks.layers.window_scale import WindowScale
from mlexpert.blocks.statistics.ridge_map import RidgeMap
from mlexpert.data.batches import batches, cut
from mlexpert.training.method import Task
from mlexpert.training.methods.forecasting import ForecastMethod
from mlexpert.training.plan import Data

_ROWS = 256
"""Windows that are looked at together."""
_ERRORS = 20_000_000
"""Numbers of which quantiles are taken, at most."""

Passes = Callable[[], Iterator[Tensor]]
"""Yields windows (B, L + H, C), anew on every call."""
Equations = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps windows to rows of features (R, P) and of outputs (R, M)."""


class SolvedForecast(ForecastMethod):
    """Solves for the maps of a forecaster around `NLinear`, and takes quantiles of its errors.

    One after the other: the effect of covariates known ahead, the map from the past to the steps to
    come, and what covariates known up to now say of its errors. Quantiles are those of the errors
    on validation, by step and column, around the point.
    """

    def __init__(self, scale: WindowScale, quantiles: Sequence[float] = ()) -> None:
        super().__init__(scale, quantiles)
        self.validation: Data | None = None
        self.register_buffer("penalty", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def end_task(self, model: nn.Module, task: Task) -> None:
        """Look at all training windows, and write the maps into the model."""
        assert isinstance(model, Forecaster) and isinstance(model.backbone, NLinear)
        assert task.batches is not None and self.validation is not None, "handed over by the recipe"
        rows, device = task.batches, model.get_buffer("offsets").device

        def train() -> Iterator[Tensor]:
            for batch in rows():
                yield from batch.inputs.split(_ROWS)

        def judge() -> Iterator[Tensor]:
            data = self.validation
            assert data is not None
            cuts = cut(torch.arange(len(data.targets)), _ROWS)
            for inputs, _, _ in batches(data.store, data.targets, cuts):
                yield inputs.to(device)

        linear = model.backbone.linear
        linear.bias.zero_()  # a forecast moves with what was seen
        if model.future is not None:
            weight, _ = _solved(train, judge, lambda windows: self._of_future(windows))
            model.future.weight.copy_(weight.T)
        weight, penalty = _solved(train, judge, lambda windows: self._of_past(model, windows))
        linear.weight.copy_(weight.T)
        self.get_buffer("penalty").fill_(penalty)
        if model.past is not None:
            weight, _ = _solved(train, judge, lambda windows: self._of_errors(model, windows))
            model.past.weight.copy_(weight.T)
        if self.quantiles:
            model.get_buffer("offsets").copy_(self._offsets(model, judge))

    def _of_future(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return changes of covariates, and those of the targets beside them."""
        seen, _, known = self.scale.seen(windows)
        known = known[:, : self.scale.context]
        return (known - known[:, -1:]).flatten(0, 1), (seen - seen[:, -1:]).flatten(0, 1)

    def _of_past(self, model: Forecaster, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return what was seen of each series and what came, both less the last value."""
        seen, _, known = self.scale.seen(windows)
        true = self.scale.true(windows)
        if model.future is not None:
            effect = model.future(known)
            seen = seen - effect[:, : self.scale.context]
            true = true - effect[:, self.scale.context :]
        last = seen[:, -1:]
        return _by_series(seen - last), _by_series(true - last)

    def _of_errors(self, model: Forecaster, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return changes of the covariates known up to now, and the errors without them."""
        assert model.past is not None
        _, past, _ = self.scale.seen(windows)
        return model.changes(past), (self.scale.true(windows) - _point(model, windows)).flatten(1)

    def _offsets(self, model: Forecaster, judge: Passes) -> Tensor:
        """Return quantiles (H, K, Q) of the errors on validation, less their median."""
        assert self.validation is not None
        size = len(self.validation.targets) * model.horizon * self.scale.num_targets
        every = -(-size // _ERRORS)
        errors = torch.cat(
            [(self.scale.true(windows) - _point(model, windows))[::every] for windows in judge()]
        )
        found = np.quantile(errors.cpu().numpy(), self.quantiles, axis=0)  # (Q, H, K)
        return torch.from_numpy(found - found[self.point]).permute(1, 2, 0)


def _point(model: Forecaster, windows: Tensor) -> Tensor:
    """Return the forecasts (B, H, K) before there are quantiles: all outputs are still one."""
    return model(windows)[..., 0]


def _by_series(steps: Tensor) -> Tensor:
    """Return (B, T, K) as a row for each series, (B K, T)."""
    return steps.transpose(1, 2).flatten(0, 1)


def _solved(train: Passes, judge: Passes, equations: Equations) -> tuple[Tensor, float]:
    """Return the map whose penalty is the best on validation, and that penalty."""
    sums = []
    for windows in (train, judge):
        own: RidgeMap | None = None
        for batch in windows():
            features, outputs = equations(batch)
            if own is None:
                own = RidgeMap(features.shape[1], outputs.shape[1]).to(features.device)
            own.add(features, outputs)
        assert own is not None, "no part is without windows"
        sums.append(own)
    return sums[0].solve(sums[1])
