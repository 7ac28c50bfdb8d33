from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.series_classifier import (
    SeriesStem,
    TokenStem,
    WaveStem,
    masked_bands,
    pooled,
)
from mlexpert.blocks.layers.log_mel import LogMel
from mlexpert.blocks.layers.sound_energies import RANGE, SoundEnergies, less_recording
from mlexpert.data.schema import Schema, TextStats
from mlexpert.data.sequences.statistics import SeriesStats
from mlexpert.networks.series import series_network

MIXERS = ("conv", "lstm", "transformer", "ssd")
CLASSES = {"classes": (0, 1, 2), "class_names": ("0", "1", "2"), "class_counts": (9, 9, 9)}


def schema_of(kind: str, channels: int = 2) -> Schema:
    if kind == "text":
        return Schema("text", text=TextStats("{}", 50, 5, 9), **CLASSES)
    moments = (tuple(0.5 for _ in range(channels)), tuple(2.0 for _ in range(channels)))
    return Schema("series", series=SeriesStats(channels, 9, 20, 20, *moments), **CLASSES)


def model_of(kind: str, mixer: str, rate: int | None = None) -> nn.Module:
    torch.manual_seed(0)
    schema = schema_of(kind, 1 if rate else 2)
    return series_network(
        schema, mixer=mixer, dim=32, num_layers=2, dropout=0.1, sampling_rate=rate, max_length=50
    ).model.eval()


def padded(rows: list[Tensor], fill: float, extra: int = 3) -> Tensor:
    longest = max(map(len, rows)) + extra
    out = rows[0].new_full((len(rows), longest, *rows[0].shape[1:]), fill)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return out


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("kind", ["series", "wave", "text"])
def test_a_padded_batch_answers_as_its_rows_alone(kind: str, mixer: str) -> None:
    """The whole model, forward and backward: from one step to twenty, one alone and all at once."""
    model = model_of(
        "text" if kind == "text" else "series", mixer, 8000 if kind == "wave" else None
    )
    generator = torch.Generator().manual_seed(1)
    scale = 400 if kind == "wave" else 1
    lengths = [1, 7 * scale, 20 * scale, 3 * scale]
    rows, fill = [torch.randn(n, 2, generator=generator) for n in lengths], torch.nan
    if kind == "wave":
        rows = [row[:, :1] for row in rows]
    if kind == "text":
        rows, fill = [torch.randint(1, 50, (n,), generator=generator) for n in lengths], 0

    def answers(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        logits = torch.cat([model(batch) for batch in batches])
        logits.square().sum().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return logits.detach(), torch.cat(gradients)

    alone, alone_gradient = answers([row[None] for row in rows])
    together, gradient = answers([padded(rows, fill)])
    assert alone.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gradient, alone_gradient, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mixer", MIXERS)
def test_an_empty_text_has_finite_logits_and_gradients(mixer: str) -> None:
    model = model_of("text", mixer)
    logits = model(torch.tensor([[0, 0], [3, 4]]))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_pooling_is_that_of_real_steps() -> None:
    x, mask = torch.randn(3, 6, 4), torch.arange(6) < torch.tensor([[6], [2], [0]])
    means, highest = pooled(x, mask).split(4, dim=1)
    for row, count in enumerate((6, 2)):
        torch.testing.assert_close(means[row], x[row, :count].mean(dim=0))
        torch.testing.assert_close(highest[row], x[row, :count].amax(dim=0))
    assert not means[2].any() and not highest[2].any()


def test_series_are_standardised_by_what_training_had() -> None:
    stem = SeriesStem([1.0, 2.0], [2.0, 0.0], dim=2)
    nn.init.eye_(stem.project.weight), nn.init.zeros_(stem.project.bias)
    features, mask = stem(torch.tensor([[[3.0, 2.0], [torch.nan, torch.nan]]]))
    assert mask.tolist() == [[True, False]]
    assert features[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]  # a constant channel is nothing


@pytest.mark.parametrize("unit", [1.0, 32_768.0])
def test_waveforms_may_be_in_any_unit_and_loudness_is_left_out(unit: float) -> None:
    wave = np.sin(np.arange(4000) / 3) * np.hanning(4000)
    inputs = torch.tensor(wave, dtype=torch.float32)[None, :, None]

    def stem_of(std: float) -> nn.Module:
        torch.manual_seed(0)
        log_mel = LogMel(sample_rate=8000, num_mels=20, window=200, hop=80)
        return WaveStem(SoundEnergies(log_mel, std=std), num_mels=20, dim=8).eval()

    expected, mask = stem_of(0.3)(inputs)
    assert expected.shape == (1, 51, 8) and mask.all()
    features, _ = stem_of(0.3 * unit)(inputs * unit)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_what_is_far_below_the_loudest_does_not_count() -> None:
    torch.manual_seed(0)
    energies = 20 * torch.rand(2, 30, 8) - 20
    real = torch.ones(2, 30, 1, dtype=torch.bool)
    real[1, 20:] = False
    loudest = energies.masked_fill(~real, -torch.inf).amax(dim=(1, 2), keepdim=True)
    quiet = energies < loudest - RANGE - 8
    assert quiet.any()
    other = torch.where(quiet, energies - 50.0, energies)  # another microphone's silence
    expected = less_recording(energies, real)
    torch.testing.assert_close(less_recording(other, real), expected, atol=1e-2, rtol=0)
    assert not expected[1, 20:].any()
    torch.testing.assert_close(less_recording(energies + 3.0, real), expected)  # played louder


def test_a_recording_without_frames_is_no_number_gone_wrong() -> None:
    nothing = less_recording(torch.zeros(1, 4, 8), torch.zeros(1, 4, 1, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros(1, 4, 8))


def test_a_band_of_frequencies_is_masked_in_every_frame() -> None:
    torch.manual_seed(0)
    masked = masked_bands(torch.ones(200, 3, 40), share=0.25)
    assert (masked == masked[:, :1]).all()
    widths = (masked[:, 0] == 0).sum(dim=1)
    assert widths.max() <= 11 and 3 < widths.float().mean() < 7
    assert ((masked[:, 0].diff(dim=1) != 0).sum(dim=1) <= 2).all()  # one band, not several


def test_tokens_of_padding_are_no_steps() -> None:
    features, mask = TokenStem(9, dim=4)(torch.tensor([[5, 1, 0]]))
    assert mask.tolist() == [[True, True, False]] and not features[0, 2].any()
