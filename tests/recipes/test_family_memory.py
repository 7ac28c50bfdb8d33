"""The memory of a step is predicted for every recipe of the imbalanced family."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mlexpert.fitting.trials import predict_memory
from mlexpert.recipes import get, names

FAMILY = [name for name in names() if name.split("/")[0] == "imbalanced-cls"]


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_can_be_made_with_fake_tensors(name, caplog):
    rng = np.random.default_rng(0)
    recipe = get(name, batch_size=16)
    shape = (200, 4) if "tabular" in recipe.kinds else (200, 8, 8)
    X = rng.integers(0, 255, shape).astype("uint8" if len(shape) == 3 else "float32")
    y = rng.choice(3, 200, p=[0.6, 0.2, 0.2])
    with caplog.at_level(logging.WARNING, logger="torch"):
        forecast = predict_memory(recipe, (X, y))
    assert forecast.unpredicted == ""
    assert all(peak for peak in forecast.peaks.values())
    assert caplog.records == [], "a part that is no fake tensor was copied"
