"""Random erasing, mixup and CutMix against brute force, closed forms and torchvision's draws."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as transforms
from scipy import stats

from mlexpert.blocks.augment.cutmix import cutmix
from mlexpert.blocks.augment.mixing import drawn_shares
from mlexpert.blocks.augment.mixup import mixup
from mlexpert.blocks.augment.random_erasing import random_erasing


def boxes(changed: torch.Tensor) -> list[tuple[int, int] | None]:
    """Return height and width of the changed rectangle (B, H, W) of every image; None: nothing."""
    found: list[tuple[int, int] | None] = []
    for mask in changed:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        if not len(rows):
            found.append(None)
            continue
        top, bottom, left, right = *rows[[0, -1]].flatten(), *columns[[0, -1]].flatten()
        assert mask[top : bottom + 1, left : right + 1].all()  # a rectangle without holes
        found.append((int(bottom - top) + 1, int(right - left) + 1))
    return found


def test_erasing_fills_one_rectangle_of_the_asked_shape() -> None:
    images = torch.full((400, 3, 24, 40), 2.0)  # a value that the noise never has
    before = images.clone()
    erased = random_erasing(images, torch.Generator().manual_seed(0), probability=0.25)
    assert torch.equal(images, before)
    changed = erased != 2.0
    assert torch.equal(changed.all(dim=1), changed.any(dim=1))  # all channels alike
    found = [box for box in boxes(changed[:, 0]) if box is not None]
    assert abs(len(found) - 100) < 35  # four deviations
    for tall, wide in found:  # sides are rounded to pixels
        assert 0.015 < tall * wide / (24 * 40) < 0.37
        assert 1 / 3.9 < tall / wide < 3.9
    noise = erased[changed]
    assert noise.min() >= 0 and noise.max() < 1 and abs(noise.mean() - 0.5) < 0.02


def test_erased_areas_are_spread_as_torchvisions() -> None:
    images = torch.full((1500, 1, 32, 32), 2.0)
    torch.manual_seed(0)
    theirs = transforms.RandomErasing(p=1.0, ratio=(1 / 3.3, 3.3))
    expected = torch.stack([(theirs(image) != 2.0).sum() for image in images]).float()
    found = random_erasing(images, torch.Generator().manual_seed(0), probability=1.0)
    areas = (found != 2.0).sum(dim=(1, 2, 3)).float()
    assert stats.ks_2samp(areas, expected).pvalue > 1e-3
    corner = (found != 2.0).float().mean(dim=0)[0]
    assert abs(corner[0, 0] - corner[-1, -1]) < 0.05  # no side is preferred
    assert corner[16, 16] > corner[0, 0]


def test_erasing_nothing_and_images_too_small_to_erase() -> None:
    images = torch.rand(8, 1, 1, 1)
    assert torch.equal(random_erasing(images, torch.Generator(), probability=1.0), images)
    images = torch.rand(8, 1, 9, 9)
    assert torch.equal(random_erasing(images, torch.Generator(), probability=0.0), images)


def test_shares_follow_beta() -> None:
    for alpha in (0.2, 1.0, 4.0):
        found = drawn_shares(2000, alpha, torch.Generator().manual_seed(3))
        assert stats.kstest(found.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    with pytest.raises(ValueError, match="alpha"):
        drawn_shares(1, 0.0, torch.Generator())


def test_mixup_averages_pixels_and_targets_alike() -> None:
    torch.manual_seed(0)
    count = 60
    targets = F.one_hot(torch.arange(count), count)  # each row is its own class
    images = torch.rand(count, 2, 3, 4)
    mixed, shares = mixup(images, targets, torch.Generator().manual_seed(1), alpha=0.8)
    assert mixed.dtype == shares.dtype == torch.float32
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(count))
    torch.testing.assert_close(mixed, torch.einsum("nk,kchw->nchw", shares, images))
    assert ((shares > 0).sum(dim=1) <= 2).all()
    torch.testing.assert_close((shares > 0).sum(dim=0).float().mean().item(), 2.0, atol=0.2, rtol=0)
    assert not torch.equal(mixed, mixup(images, targets, torch.Generator().manual_seed(2))[0])


def test_cutmix_pastes_a_rectangle_and_counts_its_pixels() -> None:
    count = 80
    targets = F.one_hot(torch.arange(count), count)
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(count, 2, 9, 14).contiguous()
    mixed, shares = cutmix(images, targets, torch.Generator().manual_seed(0))
    for row in range(count):  # the pixels of each image say whose they are
        whose = mixed[row, 0].long().flatten()
        assert torch.equal(mixed[row, 0], mixed[row, 1])
        torch.testing.assert_close(
            torch.bincount(whose, minlength=count).float() / (9 * 14), shares[row]
        )
    boxes(mixed[:, 0] != images[:, 0])
    own = shares.diagonal()
    assert 0.5 < own.mean() < 0.8  # alpha of 1 keeps half, and more where a rectangle is cut off


def test_soft_targets_are_mixed_again() -> None:
    targets = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    for mix in (mixup, cutmix):
        _, mixed = mix(torch.rand(2, 1, 4, 4), targets, torch.Generator().manual_seed(0), alpha=1.0)
        torch.testing.assert_close(mixed.sum(dim=1), torch.ones(2))
        torch.testing.assert_close(mixed[:, 0], mixed[:, 1])
