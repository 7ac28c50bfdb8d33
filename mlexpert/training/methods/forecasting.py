"""Training of forecasters: errors over all steps and columns of a window, or pinball losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.window_scale import WindowScale
from mlexpert.blocks.losses.pinball import pinball
from mlexpert.training.method import Batch, Examined, Loss, Method


class ForecastMethod(Method):
    """The mean squared error of forecasts, standardised by the training rows; or pinball losses.

    Args:
        scale: Cuts what came next out of a window, standardised.
        quantiles: Levels that are forecast, in ascending order; empty for a point.
    """

    def __init__(self, scale: WindowScale, quantiles: Sequence[float] = ()) -> None:
        super().__init__()
        self.scale, self.quantiles = scale, tuple(quantiles)
        levels = torch.tensor(self.quantiles)
        self.register_buffer("levels", levels, persistent=False)
        self.point = self.quantiles.index(0.5) if self.quantiles else 0

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the sum of the errors over windows, steps and columns, and their number."""
        losses = self.losses(model(batch.inputs), self.scale.true(batch.inputs))
        return Loss(losses.sum(), losses.numel())

    def losses(self, steps: Tensor, true: Tensor) -> Tensor:
        """Return the losses (B, H, K) of forecasts (B, H, K, Q), given what came (B, H, K)."""
        if self.quantiles:
            return pinball(steps.float(), true, self.get_buffer("levels"))
        return (steps[..., 0].float() - true).square()

    @torch.inference_mode()
    def examine(self, model: nn.Module, rows: Iterator[Batch]) -> Examined:
        """Return loss, mean squared and mean absolute error: sums over every window, divided once.

        They do not depend on how windows are cut into batches.
        """
        sums = torch.zeros(3, dtype=torch.float64)
        count = 0
        for batch in rows:
            steps, true = model(batch.inputs), self.scale.true(batch.inputs)
            off = (steps[..., self.point].float() - true).double()
            found = (self.losses(steps, true).double(), off.square(), off.abs())
            sums += torch.stack([one.sum() for one in found]).cpu()
            count += true.numel()
        loss, squared, absolute = (sums / count).tolist()
        return Examined({"loss": loss, "forecast_mse": squared, "forecast_mae": absolute})
