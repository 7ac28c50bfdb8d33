"""Norms, feed-forward layers and the layers of series, against torch and closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.patch_embedding import PatchEmbedding, patches
from mlexpert.blocks.layers.reversible_instance_norm import ReversibleInstanceNorm
from mlexpert.blocks.layers.rms_norm import RMSNorm
from mlexpert.blocks.layers.series_decomposition import SeriesDecomposition
from mlexpert.blocks.layers.swiglu import SwiGLU


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("weight", [True, False])
def test_rms_norm_equals_torch(weight: bool) -> None:
    ours, theirs = RMSNorm(8, weight=weight), nn.RMSNorm(8, eps=1e-6, elementwise_affine=weight)
    if weight:
        ours.weight.data = theirs.weight.data = torch.randn(8)
    x = torch.randn(3, 4, 8)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(RMSNorm(8)(x).square().mean(-1), torch.ones(3, 4), rtol=0, atol=1e-4)
    assert ours(x.bfloat16()).dtype == torch.bfloat16
    assert ours(torch.zeros(1, 8)).isfinite().all()


def test_swiglu_is_a_gated_product() -> None:
    layer, x = SwiGLU(6, bias=True), torch.randn(2, 3, 6)
    assert layer.project_out.in_features == 16  # 8/3 of 6 is 16
    assert SwiGLU(96).project_out.in_features == 256
    gate, value = layer.project_in.weight.chunk(2)
    first, second = layer.project_in.bias.chunk(2)
    gate, value = x @ gate.T + first, x @ value.T + second
    expected = layer.project_out(gate * gate.sigmoid() * value)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("activation", ["gelu", "relu2"])
def test_feed_forward_equals_its_formula(activation: str) -> None:
    layer, x = FeedForward(6, activation=activation, bias=True), torch.randn(2, 3, 6)
    apply = nn.GELU() if activation == "gelu" else lambda h: h.clamp(min=0) ** 2
    theirs = nn.Linear(6, 24), nn.Linear(24, 6)
    theirs[0].load_state_dict(layer.project_in.state_dict())
    theirs[1].load_state_dict(layer.project_out.state_dict())
    torch.testing.assert_close(layer(x), theirs[1](apply(theirs[0](x))))
    with pytest.raises(ValueError, match="gelu or relu2"):
        FeedForward(6, activation="tanh")


@pytest.mark.parametrize(("total", "length", "stride"), [(336, 16, 8), (20, 6, 4), (17, 5, 5)])
def test_patches_equal_unfold(total: int, length: int, stride: int) -> None:
    series = torch.randn(2, 3, total)
    found = patches(series, length=length, stride=stride)
    extended = F.pad(series, (0, stride), mode="replicate")
    columns = F.unfold(extended.reshape(6, 1, 1, -1), (1, length), stride=(1, stride))
    assert torch.equal(found, columns.mT.reshape(2, 3, -1, length))
    assert found.shape[-2] == (total - length) // stride + 2
    layer = PatchEmbedding(8, series_length=total, patch=length, stride=stride)
    tokens = layer(series)
    assert tokens.shape == (2, 3, layer.num_patches, 8)
    expected = found[1, 2, 1] @ layer.project.weight.T + layer.project.bias + layer.positions[1]
    torch.testing.assert_close(tokens[1, 2, 1], expected)


def test_series_shorter_than_a_patch() -> None:
    with pytest.raises(ValueError, match="patch of 16 values, but the series has 5"):
        PatchEmbedding(8, series_length=5)
    with pytest.raises(ValueError, match="patch of 6 values, but the series has 5"):
        patches(torch.zeros(1, 5), length=6, stride=2)


def test_decomposition_adds_up_and_keeps_lines() -> None:
    layer, series = SeriesDecomposition(5), torch.randn(2, 30, 3)
    rest, trend = layer(series)
    torch.testing.assert_close(rest + trend, series)
    extended = torch.cat([series[:, :1]] * 2 + [series] + [series[:, -1:]] * 2, dim=1)
    expected = torch.stack([extended[:, t : t + 5].mean(1) for t in range(30)], dim=1)
    torch.testing.assert_close(trend, expected)
    line = torch.arange(30.0).view(1, 30, 1)
    torch.testing.assert_close(layer(line)[1][:, 2:-2], line[:, 2:-2])
    with pytest.raises(ValueError, match="has no middle"):
        SeriesDecomposition(4)


@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm_round_trip(affine: bool) -> None:
    layer = ReversibleInstanceNorm(3 if affine else None)
    series = 100 + 7 * torch.randn(4, 20, 3)
    normed, levels = layer.normalise(series)
    expected = F.instance_norm(series.mT, eps=1e-5).mT
    torch.testing.assert_close(normed, expected, rtol=1e-4, atol=1e-4)
    if affine:
        nn.init.normal_(layer.scale)
        nn.init.normal_(layer.shift)
    normed, levels = layer.normalise(series)
    torch.testing.assert_close(layer.denormalise(normed, levels), series, rtol=1e-5, atol=1e-3)


def test_instance_norm_reads_what_counts_only() -> None:
    layer, series = ReversibleInstanceNorm(2), torch.randn(3, 8, 2)
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1, :5], mask[2] = False, False
    normed, _ = layer.normalise(series, mask)
    alone, _ = layer.normalise(series[1:2, 5:])
    torch.testing.assert_close(normed[1, 5:], alone[0])
    assert normed.isfinite().all()
    constant, levels = layer.normalise(torch.full((1, 8, 2), 3.0))
    assert not constant.any()
    torch.testing.assert_close(layer.denormalise(constant, levels), torch.full((1, 8, 2), 3.0))
