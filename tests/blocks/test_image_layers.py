"""Image layers and augmentations against torchvision, brute force and published counts."""

from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as vision
from torch import nn

from mlexpert.blocks.augment.flip_crop import random_crop, random_flip
from mlexpert.blocks.backbones.resnet import ResidualBlock, ResNet
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.layers.small_image_stem import image_stem, is_small


def test_normalize_equals_torchvision() -> None:
    images = torch.rand(4, 3, 5, 6)
    mean, std = [0.1, 0.5, 0.7], [0.2, 0.3, 0.4]
    torch.testing.assert_close(
        ImageNormalize(mean, std)(images), vision.normalize(images, mean, std)
    )


def test_normalize_travels_in_the_state_and_survives_a_constant_channel() -> None:
    layer = ImageNormalize([0.5], [0.0])
    assert set(layer.state_dict()) == {"mean", "std"}
    assert layer(torch.full((1, 1, 2, 2), 0.5)).abs().max() == 0
    with pytest.raises(ValueError, match="one value per channel"):
        ImageNormalize([0.5, 0.5], [0.1])


# He et al. 2016, table 6: millions of parameters on CIFAR-10.
@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_resnet_has_the_published_number_of_parameters(depth: int, millions: float) -> None:
    with torch.device("meta"):
        model = ResNet(in_channels=3, num_classes=10, image_size=(32, 32), depth=depth)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 2 if depth < 110 else 1) == millions
    # The paper's depth: every layer with weights that a signal passes.
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == depth


def test_residual_block_adds_its_input() -> None:
    block = ResidualBlock(4, 8, stride=2).eval()
    nn.init.zeros_(block.norm2.weight)
    inputs = torch.rand(2, 4, 7, 7)
    outputs = block(inputs)
    torch.testing.assert_close(outputs[:, :4], inputs[:, :, ::2, ::2])
    assert outputs[:, 4:].abs().max() == 0


@pytest.mark.parametrize(
    ("size", "expected"), [((28, 28), (28, 28)), ((64, 64), (64, 64)), ((96, 128), (24, 32))]
)
def test_stem_keeps_the_resolution_of_small_images(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert image_stem(3, 8, size)(torch.rand(2, 3, *size)).shape == (2, 8, *expected)
    assert is_small(size) == (expected == size)


def test_resnet_gives_logits_or_features_for_any_size() -> None:
    for size in [(28, 28), (33, 47), (96, 70)]:
        model = ResNet(in_channels=1, num_classes=5, image_size=size, depth=8, width=4)
        assert model(torch.rand(2, 1, *size)).shape == (2, 5)
    headless = ResNet(in_channels=1, num_classes=0, image_size=(28, 28), depth=8, width=4)
    inputs = torch.rand(2, 1, 28, 28)
    assert headless.eval()(inputs).shape == (2, headless.num_features) == (2, 16)
    torch.testing.assert_close(headless(inputs), headless.features(inputs))


@pytest.mark.parametrize("depth", [2, 7, 18])
def test_resnet_refuses_a_depth_that_is_not_6n_plus_2(depth: int) -> None:
    with pytest.raises(ValueError, match="6n"):
        ResNet(in_channels=3, num_classes=2, image_size=(32, 32), depth=depth)


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.rand(400, 2, 3, 5)
    flipped = random_flip(images, torch.Generator().manual_seed(0))
    mirrored = (flipped == vision.horizontal_flip(images)).flatten(1).all(1)
    unchanged = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ unchanged).all()
    assert 160 < mirrored.sum() < 240  # four standard deviations


def test_crop_is_a_window_of_the_padded_image() -> None:
    images = torch.rand(300, 2, 4, 6)
    padding = 2
    cropped = random_crop(images, padding, torch.Generator().manual_seed(0))
    padded = vision.pad(images, [padding])
    seen = set()
    for image, source in zip(cropped, padded, strict=True):
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(image, source[:, top : top + 4, left : left + 6])
        ]
        assert places
        seen.update(places)
    assert len(seen) == 25
    assert random_crop(images, 0, torch.Generator()) is images


@pytest.mark.parametrize("augment", [random_flip, lambda x, g: random_crop(x, 1, g)])
def test_augmentation_depends_on_the_generator_alone(augment) -> None:
    images = torch.rand(16, 1, 4, 4)
    kept = images.clone()
    first = augment(images, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    assert torch.equal(first, augment(images, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, augment(images, torch.Generator().manual_seed(4)))
    assert torch.equal(images, kept)
