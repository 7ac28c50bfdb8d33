"""Test-time views against the mean over images that were shifted and mirrored by hand."""

from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as vision
from torch import nn

from mlexpert.blocks.layers.image_views import ImageViews


def layers() -> tuple[nn.Module, ...]:
    torch.manual_seed(0)
    return nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 5, 4)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("shift", [0, 1])
def test_logits_are_the_weighted_mean_over_views(mirror: bool, shift: int) -> None:
    plain = nn.Sequential(*layers()).eval()
    model = ImageViews(*layers(), mirror=mirror, shift=shift).eval()
    images = torch.rand(2, 1, 6, 5)
    views = [(images, 1.0)]
    if shift:
        padded = vision.pad(images, [1], padding_mode="edge")
        views += [(vision.crop(padded, at, at, 6, 5), 0.5) for at in (0, 2)]
    expected, total = torch.zeros(2, 4), 0.0
    for view, weight in views:
        for seen in [view, vision.horizontal_flip(view)] if mirror else [view]:
            expected, total = expected + weight * plain(seen), total + weight
    torch.testing.assert_close(model(images), expected / total)


def test_training_sees_the_image_alone_and_names_are_those_of_a_sequence() -> None:
    plain = nn.Sequential(*layers())
    model = ImageViews(*layers(), mirror=True, shift=1)
    images = torch.rand(2, 1, 6, 5)
    assert torch.equal(model(images), plain(images))
    model.load_state_dict(plain.state_dict())
    assert ImageViews(nn.Flatten(), shift=1).eval()(torch.ones(1, 1, 1, 1)).item() == 1.0
