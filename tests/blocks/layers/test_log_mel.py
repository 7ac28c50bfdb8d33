"""Bands against closed forms and transformers' filter bank, and frames against padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from mlexpert.blocks.layers.log_mel import LogMel, mel_filters

RATE = 8000


def tone(hertz: float, samples: int = 4000) -> Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz / RATE * torch.arange(samples)).unsqueeze(0)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_filters_equal_transformers(scale: str) -> None:
    expected = mel_filter_bank(
        257, 40, 20.0, 7600.0, 16000, norm="slaney" if scale == "slaney" else None, mel_scale=scale
    )
    frequencies = torch.linspace(0, 8000, 257, dtype=torch.float64)
    found = mel_filters(frequencies, 40, low=20.0, high=7600.0, scale=scale)
    torch.testing.assert_close(found, torch.from_numpy(expected).T, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("hertz", [300, 1000, 2500])
def test_pure_tone_peaks_in_its_band(hertz: int) -> None:
    layer = LogMel(sample_rate=RATE, num_mels=40, window=200, hop=80, scale="htk")
    energies, mask = layer(tone(hertz))
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    place = 2595 * math.log10(1 + hertz / 700) / top * 41 - 1  # centres stand at 0, 1, ... 39
    peaks = energies[0, 3:-3].argmax(dim=-1)
    assert mask.all() and (peaks - place).abs().max() <= 1


def test_energy_of_a_tone_is_that_of_its_transform() -> None:
    """A tone of amplitude A on a bin leaves (A / 2 sum of the window)^2 there, by Fourier."""
    layer = LogMel(sample_rate=RATE, num_mels=20, window=256, hop=80, scale="htk")
    index = 32  # 1000 Hz
    energies, _ = layer(tone(index * RATE / 256))
    bins = torch.zeros(129)
    for offset, share in ((-1, 0.25), (0, 1.0), (1, 0.25)):  # a Hann window's neighbours: half
        bins[index + offset] = share * (0.5 / 2 * 128) ** 2
    expected = layer.filters @ bins
    loud = expected > 1
    torch.testing.assert_close(energies[0, 20, loud], expected[loud].log(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_frame(side: str) -> None:
    layer = LogMel(sample_rate=RATE, num_mels=20, window=200, hop=80)
    torch.manual_seed(0)
    lengths = [1000, 640, 81, 3, 0]
    x, mask = torch.randn(5, 1000), torch.zeros(5, 1000, dtype=torch.bool)
    sounds = [torch.randn(1, length) for length in lengths]
    for row, sound in enumerate(sounds):
        start = 1000 - lengths[row] if side == "left" else 0
        x[row, start : start + lengths[row]], mask[row, start : start + lengths[row]] = (
            sound[0],
            True,
        )
    energies, frames = layer(x, mask)
    assert frames.sum(1).tolist() == [1 + n // 80 if n else 0 for n in lengths]
    assert not energies[~frames].any()
    for row in range(4):
        alone, _ = layer(sounds[row])
        torch.testing.assert_close(energies[row, frames[row]], alone[0], rtol=0, atol=1e-5)


def test_silence_is_the_floor_and_bf16_changes_nothing() -> None:
    layer = LogMel(sample_rate=RATE)
    assert layer(torch.zeros(1, 800))[0].eq(math.log(torch.tensor(1e-6))).all()
    sound = tone(440)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(sound)[0]
    assert torch.equal(found, layer(sound)[0])
    assert not list(layer.parameters()) and not layer.state_dict()


def test_refuses_bands_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit a rate of 8000 Hz"):
        LogMel(sample_rate=RATE, high=5000)
    with pytest.raises(ValueError, match="slaney or htk"):
        LogMel(sample_rate=RATE, scale="bark")
