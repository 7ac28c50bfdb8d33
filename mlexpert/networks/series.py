"""Networks for series, waveforms and tokens: a stem for the input, and blocks of a mixer."""

from __future__ import annotations

from typing import Literal

from torch import nn

from mlexpert.blocks.backbones.rocket_classifier import RocketClassifier
from mlexpert.blocks.backbones.series_classifier import (
    SeriesClassifier,
    SeriesStem,
    TokenStem,
    WaveStem,
)
from mlexpert.blocks.layers.feed_forward import FeedForward
from mlexpert.blocks.layers.log_mel import LogMel
from mlexpert.blocks.layers.multi_rocket import MultiRocket
from mlexpert.blocks.layers.sound_energies import SoundEnergies
from mlexpert.blocks.layers.standard_series import StandardSeries
from mlexpert.blocks.mixers.attention import Attention
from mlexpert.blocks.mixers.pre_norm_block import PreNormBlock
from mlexpert.blocks.mixers.recurrent import Recurrent
from mlexpert.blocks.mixers.ssd import Ssd
from mlexpert.blocks.mixers.temporal_conv import TemporalConv
from mlexpert.data.batches import RaggedStore, Store
from mlexpert.data.encode import encode_texts
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.data.sequences.series import SeriesStore
from mlexpert.data.sequences.statistics import SeriesStats
from mlexpert.errors import InputError
from mlexpert.recipe import Network

Mixer = Literal["conv", "lstm", "transformer", "ssd"]
NUM_MELS, WINDOW, HOP = 40, 0.025, 0.010
"""Bands, and seconds of a frame and from one to the next."""


def series_network(
    schema: Schema,
    *,
    mixer: Mixer,
    dim: int,
    num_layers: int,
    dropout: float,
    sampling_rate: int | None,
    max_length: int,
) -> Network:
    """Return a network for series or texts.

    Args:
        schema: Of the training rows.
        mixer: What mixes steps.
        dim: Features of a step.
        num_layers: Blocks.
        dropout: Share of features dropped in training.
        sampling_rate: Samples a second of waveforms; None for other series.
        max_length: Tokens of a text that are read.

    Raises:
        InputError: If waveforms have several channels, or a rate is given for texts.
    """
    blocks = [_block(mixer, dim, number, dropout) for number in range(num_layers)]
    model = SeriesClassifier(
        _stem(schema, dim, sampling_rate),
        blocks,
        dim=dim,
        num_classes=schema.num_outputs,
        dropout=dropout,
    )

    def encode(examples: Examples) -> Store:
        if schema.text is not None:
            return RaggedStore(*encode_texts(examples.inputs, schema.text.tokenizer, max_length))
        return SeriesStore.of(examples.inputs)

    return Network(model, encode)


def _stem(schema: Schema, dim: int, sampling_rate: int | None) -> nn.Module:
    if schema.text is not None:
        if sampling_rate is not None:
            raise InputError(f"sampling_rate={sampling_rate} is for waveforms; these are texts.")
        return TokenStem(schema.text.vocab_size, dim=dim)
    stats = schema.series
    assert stats is not None, "series were described"
    if sampling_rate is None:
        return SeriesStem(stats.mean, stats.std, dim=dim)
    return WaveStem(sound_energies(stats, sampling_rate), num_mels=NUM_MELS, dim=dim)


def rocket_network(schema: Schema, *, num_features: int, sampling_rate: int | None) -> Network:
    """Return random convolutions of series, or of the energies of waveforms, and linear logits.

    Args:
        schema: Of the training rows, which are series.
        num_features: Of the convolutions, at most.
        sampling_rate: Samples a second of waveforms; None for other series.

    Raises:
        InputError: If waveforms have several channels.
    """
    stats = schema.series
    assert stats is not None, "series were described"
    stem: nn.Module
    if sampling_rate is None:
        stem, channels = StandardSeries(stats.mean, stats.std), stats.channels
        length = stats.length_p99
    else:
        stem, channels = sound_energies(stats, sampling_rate), NUM_MELS
        length = 1 + stats.length_p99 // round(HOP * sampling_rate)
    convolutions = MultiRocket(channels, length, num_features=num_features)
    model = RocketClassifier(stem, convolutions, num_classes=schema.num_outputs)
    return Network(model, lambda examples: SeriesStore.of(examples.inputs))


def sound_energies(stats: SeriesStats, sampling_rate: int) -> SoundEnergies:
    """Return what makes `NUM_MELS` energies of waveforms.

    Args:
        stats: Of the training rows.
        sampling_rate: Samples a second.

    Raises:
        InputError: If waveforms have several channels.
    """
    if stats.channels != 1:
        raise InputError(
            f"the recordings have {stats.channels} channels, and a waveform has one: take their "
            "mean, x.mean(axis=1)."
        )
    log_mel = LogMel(
        sample_rate=sampling_rate,
        num_mels=NUM_MELS,
        window=round(WINDOW * sampling_rate),
        hop=round(HOP * sampling_rate),
        floor=1e-12,  # what is too quiet is told by each recording's loudest sound
    )
    return SoundEnergies(log_mel, std=stats.std[0])


def _block(mixer: Mixer, dim: int, number: int, dropout: float) -> nn.Module:
    made: nn.Module
    if mixer == "conv":  # reach doubles from block to block
        made = TemporalConv(dim, kernel=5, dilation=2**number, causal=False)
    elif mixer == "lstm":
        made = Recurrent(dim, bidirectional=True)
    elif mixer == "transformer":
        made = Attention(dim, num_heads=max(1, dim // 32), causal=False, qk_norm=True)
    else:
        return PreNormBlock(Ssd(dim, num_heads=max(1, dim // 16)), None, dim=dim, dropout=dropout)
    return PreNormBlock(made, FeedForward(dim, hidden=2 * dim), dim=dim, dropout=dropout)
