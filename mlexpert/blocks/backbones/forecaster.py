"""A forecaster of windows: scales them, takes off what covariates explain, and asks a backbone.

Covariates enter by regression: targets less the effect of the covariates known ahead are forecast,
and the effect is put on again, which is then that of the steps to come. What covariates known up to
now alone have to say is a linear map from their past to every step. Both begin at 0, and without
covariates the forecaster is the backbone of its paper.

Paper: Box and Jenkins 1970, Time Series Analysis (regression whose errors are a time series).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.window_scale import WindowScale


class Forecaster(nn.Module):
    """Forecasts the targets of windows (B, L + H, C), standardised by the training rows.

    Args:
        scale: Cuts and standardises windows.
        backbone: Maps standardised series (B, K, L) to forecasts (B, K, H, Q).
        horizon: Steps that are forecast, H.
        num_outputs: Numbers for each, Q; several are quantiles and come sorted.
    """

    def __init__(
        self, scale: WindowScale, backbone: nn.Module, *, horizon: int, num_outputs: int = 1
    ) -> None:
        super().__init__()
        self.scale, self.backbone, self.horizon = scale, backbone, horizon
        # What empirical quantiles are off the point; a model that learns quantiles leaves it 0.
        self.register_buffer("offsets", torch.zeros(horizon, scale.num_targets, num_outputs))
        self.past: nn.Linear | None = None
        self.future: nn.Linear | None = None
        if scale.num_past:
            features = scale.num_past * scale.context
            self.past = nn.Linear(features, horizon * scale.num_targets, bias=False)
            nn.init.zeros_(self.past.weight)
        if scale.num_future:
            self.future = nn.Linear(scale.num_future, scale.num_targets, bias=False)
            nn.init.zeros_(self.future.weight)

    def forward(self, windows: Tensor) -> Tensor:
        """Return the forecasts (B, H, K, Q), standardised; quantiles in ascending order."""
        seen, past, known = self.scale.seen(windows)
        effect = None if self.future is None else self.future(known)  # (B, L + H, K)
        if effect is not None:
            seen = seen - effect[:, : self.scale.context]
        steps = self.backbone(seen.transpose(1, 2)).transpose(1, 2)  # (B, H, K, 1 or Q)
        if effect is not None:
            steps = steps + effect[:, self.scale.context :].unsqueeze(-1)
        if self.past is not None:
            said = self.past(self.changes(past))
            steps = steps + said.view(-1, self.horizon, self.scale.num_targets, 1)
        steps = steps + self.get_buffer("offsets")
        return steps.sort(dim=-1).values if steps.shape[-1] > 1 else steps

    def changes(self, past: Tensor) -> Tensor:
        """Return covariates (B, L, P) less their last values, as features (B, P L)."""
        return (past - past[:, -1:]).transpose(1, 2).flatten(1)
