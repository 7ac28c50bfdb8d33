"""The operations of TrivialAugment and RandAugment against torchvision's, image by image."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.v2 as transforms
import torchvision.transforms.v2.functional as vision
from torch import Tensor

from mlexpert.blocks.augment import rand_augment as ours_of_cubuk
from mlexpert.blocks.augment import trivial_augment as ours_of_mueller
from mlexpert.blocks.augment.drawn_operations import OPERATIONS, apply_drawn
from mlexpert.blocks.augment.rand_augment import rand_augment
from mlexpert.blocks.augment.trivial_augment import trivial_augment


def affine(
    image: Tensor, *, shear: tuple[float, float] = (0.0, 0.0), center=None, **moved
) -> Tensor:
    degrees = [math.degrees(math.atan(slope)) for slope in shear]
    shift = [int(moved.get("x", 0.0)), int(moved.get("y", 0.0))]
    return vision.affine(image, angle=0, translate=shift, scale=1, shear=degrees, center=center)


REFERENCES = {
    "identity": lambda image, s: image,
    "shear_x": lambda image, s: affine(image, shear=(s, 0.0), center=[0, 0]),
    "shear_y": lambda image, s: affine(image, shear=(0.0, s), center=[0, 0]),
    "translate_x": lambda image, s: affine(image, x=s),
    "translate_y": lambda image, s: affine(image, y=s),
    "rotate": lambda image, s: vision.rotate(image, s),
    "brightness": lambda image, s: vision.adjust_brightness(image, 1 + s),
    "saturation": lambda image, s: vision.adjust_saturation(image, 1 + s),
    "contrast": lambda image, s: vision.adjust_contrast(image, 1 + s),
    "sharpness": lambda image, s: vision.adjust_sharpness(image, 1 + s),
    "posterize": lambda image, s: vision.posterize(image, int(s)),
    "solarize": lambda image, s: vision.solarize(image, s),
    "autocontrast": lambda image, s: vision.autocontrast(image),
    "equalize": lambda image, s: vision.equalize(image),
}
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
STRENGTHS = {
    "posterize": [8.0, 5.0, 2.0, 4.0],
    "solarize": [1.0, 0.5, 0.1, 0.0],
    "translate_x": [0.0, 3.7, -5.2, 32.0],
    "translate_y": [0.0, 3.7, -5.2, -32.0],
    "rotate": [0.0, 33.0, -134.0, 85.0],
}


@pytest.mark.parametrize("size", [(20, 20), (13, 18), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_equals_torchvisions(name: str, channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(4, channels, *size)
    images[3] = images[3] * 0.5 + 0.2  # for autocontrast, and no value at either end
    images[2, 0] = 0.25  # a constant channel
    before = images.clone()
    strength = torch.tensor(STRENGTHS.get(name, [0.0, 0.33, -0.61, 0.98]))
    found = OPERATIONS[name](images, strength)
    expected = torch.stack(
        [REFERENCES[name](i, s) for i, s in zip(images, strength.tolist(), strict=True)]
    )
    assert torch.equal(images, before)
    assert found.min() >= 0 and found.max() <= 1
    if name in GEOMETRIC:  # a pixel half-way between two may go to either
        assert (found != expected).float().mean() < 0.01
    else:
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda size: ours_of_mueller.LARGEST, transforms.TrivialAugmentWide),
        (lambda size: ours_of_cubuk._table(*size), transforms.RandAugment),
    ],
)
def test_the_strengths_are_torchvisions(ours, theirs) -> None:
    table = ours((28, 40))
    names = {"color": "saturation", "auto_contrast": "autocontrast"}
    space = theirs._AUGMENTATION_SPACE
    assert len(space) == len(table) == 14
    for camel, (strengths, _) in space.items():
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in camel).strip("_")
        found, expected = table[names.get(snake, snake)], strengths(31, 28, 40)
        if expected is not None:
            torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", [trivial_augment, rand_augment])
def test_every_image_is_changed_by_itself_and_by_the_generator(augment, channels: int) -> None:
    images = torch.rand(64, channels, 12, 10)
    first, again, other = (
        augment(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 1
    changed = (first != images).flatten(1).any(dim=1).float().mean()
    # One operation of 14 is the identity, and others may be; two in a row hardly ever.
    assert (0.5 if augment is trivial_augment else 0.8) < changed <= 1.0
    assert torch.equal(augment(images[:0], torch.Generator()), images[:0])


def test_operations_and_signs_are_drawn_evenly() -> None:
    # Images of one bright pixel; only translation to the right is given a strength.
    table = {name: torch.zeros(31) for name in OPERATIONS}
    table["posterize"] += 8
    table["solarize"] += 1
    table["translate_x"] += 1
    images = torch.zeros(14_000, 1, 1, 3)
    images[..., 1] = 0.5
    bins = torch.zeros(len(images), dtype=torch.long)
    moved = apply_drawn(images, table, bins, torch.Generator().manual_seed(0))
    left, right = ((moved[:, 0, 0, column] == 0.5).sum().item() for column in (0, 2))
    for count in (left, right):  # 500 are expected, with a deviation of 22
        assert abs(count - 500) < 100


def test_rand_augment_refuses_strengths_that_there_are_not() -> None:
    images, generator = torch.rand(2, 1, 4, 4), torch.Generator()
    assert rand_augment(images, generator, num_ops=0) is images
    for arguments in ({"magnitude": 31}, {"magnitude": -1}, {"num_ops": -1}):
        with pytest.raises(ValueError, match="magnitude is 0 to 30"):
            rand_augment(images, generator, **arguments)
