"""Corruptions beside scipy, colorsys and Pillow."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from mlexpert.blocks.corruptions.brightness import CHANGES, brightness
from mlexpert.blocks.corruptions.gaussian_blur import DEVIATIONS as BLURS
from mlexpert.blocks.corruptions.gaussian_blur import gaussian_blur
from mlexpert.blocks.corruptions.gaussian_noise import DEVIATIONS as NOISES
from mlexpert.blocks.corruptions.gaussian_noise import gaussian_noise
from mlexpert.blocks.corruptions.jpeg import QUALITIES, jpeg
from mlexpert.errors import InputError

ALL = [gaussian_noise, gaussian_blur, brightness, jpeg]


@pytest.fixture
def images() -> torch.Tensor:
    """A few smooth colour images, with black, white and saturated pixels among them."""
    noise = torch.rand(4, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
    smooth[0, :, 0, 0], smooth[0, :, 0, 1] = 0.0, 1.0
    smooth[0, :, 0, 2] = torch.tensor([1.0, 0.0, 0.0])
    return smooth


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_blur_is_that_of_scipy(images, severity):
    sigma = (0, 0, BLURS[severity - 1], BLURS[severity - 1])
    expected = ndimage.gaussian_filter(images.double().numpy(), sigma, mode="nearest", truncate=4.0)
    assert np.allclose(gaussian_blur(images, severity).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("severity", [1, 5])
def test_brightness_raises_the_value_alone(images, severity):
    found = brightness(images, severity).permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    for before, after in zip(
        images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(), found, strict=True
    ):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        bright = min(1.0, value + CHANGES[severity - 1])
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, bright), abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", [1, 5])
def test_jpeg_is_that_of_pillow(images, channels, severity):
    some = images[:, :channels]
    for before, after in zip(some, jpeg(some, severity), strict=True):
        pixels = np.rint(before.permute(1, 2, 0).numpy() * 255).astype(np.uint8).squeeze()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITIES[severity - 1])
        expected = np.asarray(Image.open(file)).reshape(12, 10, channels)
        assert np.array_equal((after.permute(1, 2, 0).numpy() * 255).round(), expected)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_noise_has_its_deviation_and_belongs_to_the_row(severity):
    grey = torch.full((40, 1, 32, 32), 0.5)
    noisy = gaussian_noise(grey, severity, seed=3)
    assert float((noisy - 0.5).std()) == pytest.approx(NOISES[severity - 1], rel=0.02)
    assert abs(float(noisy.mean()) - 0.5) < 0.002
    alone = gaussian_noise(grey[7:9], severity, seed=3, ids=torch.tensor([7, 8]))
    assert torch.equal(alone, noisy[7:9])
    assert not torch.equal(noisy, gaussian_noise(grey, severity, seed=4))


@pytest.mark.parametrize("corrupt", ALL)
def test_what_every_corruption_keeps(corrupt, images):
    before, state = images.clone(), torch.random.get_rng_state()
    changes = []
    for severity in range(1, 6):
        found = corrupt(images, severity)
        assert found.shape == images.shape and found.dtype == images.dtype
        assert found.min() >= 0 and found.max() <= 1
        assert torch.allclose(found[1:2], corrupt(images[:2], severity)[1:2])
        changes.append(float((found - images).square().mean()))
    assert changes == sorted(changes) and changes[0] > 0  # a higher severity changes more
    assert torch.equal(images, before) and torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("corrupt", ALL)
def test_what_is_refused(corrupt, images):
    for severity in (0, 6, 2.5):
        with pytest.raises(InputError, match=f"severity={severity}"):
            corrupt(images, severity)
    with pytest.raises(InputError, match=r"\(4, 3, 12\)"):
        corrupt(images[..., 0], 1)
    with pytest.raises(InputError, match=r"torch\.uint8"):
        corrupt((images * 255).byte(), 1)
    if corrupt in (brightness, jpeg):
        with pytest.raises(InputError, match="C one of 1, 3"):
            corrupt(images[:, :2], 1)
