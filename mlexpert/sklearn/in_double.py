"""Evaluation in float64, where what is said of a row must not depend on the rows beside it.

A product of matrices sums in another order for another number of rows. In float32 that shows in the
seventh digit, in float64 nowhere.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import Tensor, nn

from mlexpert.fitted import Fitted


class InDouble(nn.Module):
    """A copy of a model for tables that computes in float64."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        on_mps = next(model.parameters()).device.type == "mps"  # which has no float64
        self.model = (model.cpu() if on_mps else model).double()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs (B, ...) for rows (B, D)."""
        return self.model(inputs.double())


def in_double(fitted: Fitted) -> Fitted:
    """Return the same model for tables, evaluated in float64."""
    network = fitted.parts.network
    parts = replace(fitted.parts, network=replace(network, model=InDouble(network.model)))
    return Fitted(fitted.recipe, fitted.schema, parts, facts=fitted.facts)
