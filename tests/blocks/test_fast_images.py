"""The blocks of the speed recipe against torch, an exact decomposition and brute force."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlexpert.blocks.augment.alternating_flip import alternating_flip
from mlexpert.blocks.augment.flip_crop import random_crop
from mlexpert.blocks.backbones.speed_net import SMALLEST, SpeedNet, identity_convolution
from mlexpert.blocks.layers.patch_whitening import PatchWhitening
from mlexpert.blocks.optimizers.muon import Muon, orthogonalize


def patches_of(images: torch.Tensor) -> torch.Tensor:
    return F.unfold(images, 2).transpose(1, 2).reshape(-1, 4 * images.shape[1]).double()


def test_whitened_patches_have_no_covariance_left() -> None:
    torch.manual_seed(0)
    rough = F.avg_pool2d(
        torch.randn(64, 3, 20, 20), 3, 1
    )  # neighbours are alike, as in photographs
    patches = patches_of(rough)
    layer = PatchWhitening((patches.T @ patches / len(patches)).tolist(), channels=3, eps=0.0)
    out = layer(rough).permute(0, 2, 3, 1).reshape(-1, 24).double()
    assert torch.equal(out[:, :12], -out[:, 12:])
    moments = out[:, :12].T @ out[:, :12] / len(out)
    torch.testing.assert_close(moments, torch.eye(12).double(), atol=1e-3, rtol=0)


def test_a_patch_without_variance_is_not_blown_up() -> None:
    layer = PatchWhitening(torch.zeros(12, 12).tolist(), channels=3, eps=5e-4)
    assert layer(torch.ones(1, 3, 4, 4)).abs().max() < 200


@pytest.mark.parametrize("shape", [(5, 5), (12, 11), (0, 0)])
def test_moments_of_other_patches_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="square patches of 3 channels"):
        PatchWhitening(torch.zeros(shape).tolist(), channels=3)


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_orthogonalize_comes_near_the_polar_factor(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    near = orthogonalize(matrix)
    values = torch.linalg.svdvals(near)
    assert values.min() > 0.6 and values.max() < 1.25
    cosine = (near * (u @ vh)).sum() / (near.norm() * (u @ vh).norm())
    assert cosine > 0.97


def test_muon_moves_matrices_as_torchs_own_does() -> None:
    torch.manual_seed(2)
    start = torch.randn(6, 6)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    # torch averages gradients where the paper sums them: the direction is the same.
    mine = Muon([{"params": [ours]}], lr=0.1, momentum=0.9, weight_decay=0.01)
    other = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(4):
        grad = torch.randn(6, 6)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        mine.step()
        other.step()
    # torch computes the direction in bfloat16.
    torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=0)
    assert (ours - start).norm() > 0.3


def test_groups_that_are_not_orthogonal_are_sgd() -> None:
    torch.manual_seed(3)
    start = torch.randn(4)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    group = {"params": [ours], "lr": 0.1, "momentum": 0.8, "weight_decay": 0.05}
    mine = Muon([{**group, "orthogonal": False}])
    other = torch.optim.SGD([theirs], lr=0.1, momentum=0.8, weight_decay=0.05, nesterov=True)
    for _ in range(5):
        grad = torch.randn(4)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        mine.step()
        other.step()
    torch.testing.assert_close(ours, theirs)


def test_a_fixed_norm_holds_before_the_update() -> None:
    weight = nn.Parameter(torch.randn(9, 3, 3, 3) * 50)
    weight.grad = torch.zeros_like(weight)
    Muon([{"params": [weight], "fixed_norm": True}]).step()
    assert weight.norm().item() == pytest.approx(3.0, abs=1e-5)


def test_a_bias_is_no_matrix() -> None:
    with pytest.raises(ValueError, match=r"\(4,\) cannot be made orthogonal"):
        Muon([{"params": [nn.Parameter(torch.zeros(4))]}])


def test_every_image_is_mirrored_in_every_other_epoch() -> None:
    images = torch.rand(500, 3, 4, 4)
    rows = torch.randperm(5000)[:500]
    views = [alternating_flip(images, rows, epoch) for epoch in range(3)]
    assert torch.equal(views[0], views[2])
    assert torch.equal(views[0], views[1].flip(3))
    mirrored = (views[0] != images).flatten(1).any(dim=1).float().mean()
    assert 0.4 < mirrored < 0.6


def test_a_reflecting_crop_is_a_window_of_the_reflected_image() -> None:
    images = torch.rand(40, 1, 6, 6)
    padded = F.pad(images, (2,) * 4, mode="reflect")
    crops = random_crop(images, 2, torch.Generator().manual_seed(0), reflect=True)
    windows = [(i, j) for i in range(5) for j in range(5)]
    for image, crop in zip(padded, crops, strict=True):
        assert any(torch.equal(image[:, i : i + 6, j : j + 6], crop) for i, j in windows)


def test_a_first_convolution_gives_back_its_input() -> None:
    images = torch.rand(2, 3, 5, 5)
    out = identity_convolution(3, 8)(images)
    torch.testing.assert_close(out[:, :3], images)


@pytest.mark.parametrize("size", [SMALLEST, 28, 32, 45])
def test_images_of_any_size_pass(size: int) -> None:
    net = SpeedNet(
        PatchWhitening(torch.eye(4).tolist(), channels=1), num_classes=3, widths=(8, 16, 16)
    )
    assert net(torch.rand(2, 1, size, size)).shape == (2, 3)
