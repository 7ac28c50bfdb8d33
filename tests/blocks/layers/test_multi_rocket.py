"""Random convolutions beside their definitions, one kernel, row and step at a time."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
import torch
from torch import Tensor

from mlexpert.blocks.layers.multi_rocket import (
    KERNELS,
    MultiRocket,
    dilations_of,
    kernels,
    poolings,
)


def made(channels: int = 2, length: int = 40, seed: int = 0) -> tuple[MultiRocket, Tensor]:
    """Return convolutions whose biases are of some series, and these (6, T, C)."""
    torch.manual_seed(seed)
    layer, x = MultiRocket(channels, length, num_features=1344), torch.randn(6, length, channels)
    layer.choose_biases(x, torch.ones(x.shape[:2], dtype=torch.bool))
    return layer, x


def by_definition(layer: MultiRocket, series: np.ndarray) -> list[list[float]]:
    """Return the four numbers of every kernel and bias, of a series (T, C) and of its changes."""
    out = []
    for bank, x in ((layer.of_values, series), (layer.of_changes, np.diff(series, axis=0))):
        at = 0
        for number, (dilation, count) in enumerate(zip(bank.dilations, bank.counts, strict=True)):
            for place in range(at, at + count):
                for kernel in range(KERNELS):
                    padded = (kernel + number) % 2 == 0
                    steps = range(
                        0 if padded else 4 * dilation, len(x) - 4 * dilation * (not padded)
                    )
                    z = {
                        t: sum(
                            float(bank.weight[number, kernel, :, tap] @ torch.tensor(x[t + shift]))
                            for tap in range(9)
                            if 0 <= t + (shift := (tap - 4) * dilation) < len(x)
                        )
                        - float(bank.bias[kernel, place])
                        for t in steps
                    }
                    above = [t for t in steps if z[t] > 0]
                    runs = [
                        len(list(own)) for up, own in groupby(z.values(), lambda v: v > 0) if up
                    ]
                    out.append(
                        [
                            len(above) / max(1, len(steps)),
                            sum(z[t] for t in above) / max(1, len(above)),
                            sum(above) / max(1, len(above)),
                            max(runs, default=0),
                        ]
                    )
            at += count
    return out


def ordered(features: Tensor) -> Tensor:
    """Return features (P,) as (84 x biases, 4), in the order of the definition."""
    return features.view(-1, 4, KERNELS).transpose(1, 2).reshape(-1, 4)


def test_features_are_those_of_the_definition() -> None:
    layer, x = made()
    given = ordered(layer(x[:1], torch.ones(1, x.shape[1], dtype=torch.bool))[0])
    expected = torch.tensor(by_definition(layer, x[0].numpy()))
    torch.testing.assert_close(given, expected, atol=2e-4, rtol=1e-4)


def test_padding_changes_no_feature_and_chunks_do_not_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, x = made()
    lengths = torch.tensor([40, 31, 20, 9, 2, 1])
    mask = torch.arange(40) < lengths[:, None]
    together = layer(x.masked_fill(~mask.unsqueeze(-1), 7.0), mask)
    monkeypatch.setattr("mlexpert.blocks.layers.multi_rocket.CHUNK", 1)
    torch.testing.assert_close(layer(x, mask), together, atol=1e-4, rtol=1e-4)
    for row, length in enumerate(lengths.tolist()):
        alone = layer(x[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)
    assert together.isfinite().all()


def test_there_are_84_kernels_whose_weights_sum_to_0() -> None:
    found = kernels()
    assert found.shape == (84, 9) and len(found.unique(dim=0)) == 84
    assert (found.sum(dim=1) == 0).all() and ((found == 2).sum(dim=1) == 3).all()


@pytest.mark.parametrize(
    ("length", "per_kernel"), [(1, 3), (9, 5), (24, 74), (150, 74), (5000, 74)]
)
def test_dilations_reach_as_far_as_the_series(length: int, per_kernel: int) -> None:
    dilations, counts = dilations_of(length, per_kernel)
    assert sum(counts) == per_kernel and min(counts) >= 1
    assert dilations == sorted(set(dilations)) and dilations[0] == 1 and len(dilations) <= 32
    assert dilations[-1] <= max(1, (length - 1) / 8) <= max(1, dilations[-1] + 1)


def test_biases_are_quantiles_of_what_training_rows_gave() -> None:
    """About as many values are above the biases of all kernels as below."""
    layer, x = made(length=200)
    features = layer(x, torch.ones(x.shape[:2], dtype=torch.bool))
    shares = ordered(features.mean(dim=0))[:, 0]
    assert 0.4 < shares.mean() < 0.6 and shares.std() > 0.15


def test_poolings_where_nothing_is_above_or_nothing_counts() -> None:
    z = torch.tensor([[[-1.0, -2.0, -3.0]], [[1.0, 2.0, 3.0]], [[1.0, 1.0, -1.0]]])
    inside = torch.tensor([[[True, True, True]], [[False, False, False]], [[True, True, True]]])
    found = poolings(z, inside)
    assert found.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [pytest.approx(2 / 3), 1, 0.5, 2]]


def test_some_channels_are_heard_and_never_none() -> None:
    torch.manual_seed(0)
    bank = MultiRocket(12, 100, num_features=6720).of_values
    heard = bank.weight.abs().sum(dim=-1).gt(0).sum(dim=-1)  # (D, 84)
    assert heard.min() >= 1 and heard.max() <= 9
    assert 2 < heard.float().mean() < 2 + math.log2(9)


def test_too_few_features_are_refused() -> None:
    with pytest.raises(ValueError, match="672 or more"):
        MultiRocket(1, 50, num_features=600)
