"""Regression's decision against numpy."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mlexpert.blocks.decisions.identity import Identity


@pytest.mark.parametrize("shape", [(50, 1), (50, 4, 1)])
def test_numbers_come_back_in_the_unit_of_the_user(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(shape)
    # Seconds since 1970: float32 would be off by a minute.
    decide = Identity(SimpleNamespace(mean=1.7e9, std=3.0))
    expected = outputs.double().numpy().reshape(50, -1).mean(1) * 3.0 + 1.7e9
    found = decide.decide(outputs)
    assert found.shape == (50,) and found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)
    assert torch.equal(decide.probabilities(outputs), found)


def test_nothing_is_fitted_and_the_unit_is_in_the_state() -> None:
    decide = Identity(SimpleNamespace(mean=2.0, std=0.5))
    before = decide.decide(torch.ones(3, 1))
    chosen = decide.fit(torch.ones(3, 1), torch.zeros(3), torch.ones(3))
    assert (chosen.temperature, chosen.tau, chosen.rarest_rows) == (1.0, 0.0, 0)
    restored = Identity(SimpleNamespace(mean=0.0, std=1.0))
    restored.load_state_dict(decide.state_dict())
    assert torch.equal(restored.decide(torch.ones(3, 1)), before)
    assert before.tolist() == [2.5] * 3
