"""A classifier of sequences: a stem, residual blocks of any mixer, and pooling over real steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LOUDNESS = 0.1
"""Deviation of a sample where full scale is 1: what log-mel energies take for silence stands beside
that."""
RANGE = 9.0
"""Natural logarithms of energy, 39 dB, below the loudest band and frame of a recording: what is
quieter there says how its room and its microphone sound."""


class SeriesClassifier(nn.Module):
    """Maps a batch of sequences to logits (B, K), whatever pads them.

    Args:
        stem: Maps the batch to features (B, T, D) and the mask (B, T) of real steps.
        blocks: Of the mixers' signature.
        dim: D.
        num_classes: K.
        dropout: Share of the pooled features dropped in training.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        *,
        dim: int,
        num_classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem, self.blocks = stem, nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(2 * dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * dim, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K)."""
        x, mask = self.stem(inputs)
        for block in self.blocks:
            x, _ = block(x, mask=mask)
        return self.head(self.dropout(self.norm(pooled(x, mask))))


def pooled(x: Tensor, mask: Tensor) -> Tensor:
    """Return mean and maximum (B, 2D) of features (B, T, D) over the steps of a mask (B, T).

    Of a row without real steps, as an empty text is, both are 0.
    """
    real = mask.unsqueeze(-1)
    count = real.sum(dim=1).clamp(min=1)
    mean = x.masked_fill(~real, 0.0).sum(dim=1) / count
    highest = x.masked_fill(~real, torch.finfo(x.dtype).min).amax(dim=1)
    highest = highest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)
    return torch.cat([mean, highest], dim=-1)


class SeriesStem(nn.Module):
    """Standardises series (B, T, C), in which NaN pads, and projects each step.

    Args:
        mean: Of each channel, over the training rows.
        std: Of each channel.
        dim: Features D of a step.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std).clamp(min=1e-6))
        self.project = nn.Linear(len(mean), dim)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, T, D) and the mask (B, T) of real steps."""
        mask = ~inputs[..., 0].isnan()
        x = (inputs - self.mean) / self.std
        return self.project(x.masked_fill(~mask.unsqueeze(-1), 0.0)), mask


class WaveStem(nn.Module):
    """Log-mel energies of waveforms (B, T, 1), in which NaN pads, less their mean over time.

    The mean says how loud a recording is and how its microphone sounds, which is not what was said;
    so does the noise between the sounds, which is drowned in an even one `RANGE` below the loudest.
    Samples may be in any unit: they are brought to a usual loudness before, that of training.

    Args:
        log_mel: Maps waveforms (B, T) and their mask to energies (B, F, M) and the frames' mask.
        std: Deviation of a sample, over the training rows.
        num_mels: M.
        dim: Features D of a frame.
    """

    scale: Tensor

    def __init__(self, log_mel: nn.Module, *, std: float, num_mels: int, dim: int) -> None:
        super().__init__()
        self.log_mel = log_mel
        self.register_buffer("scale", torch.tensor(LOUDNESS / max(std, 1e-30)))
        self.project = nn.Linear(num_mels, dim)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, F, D) and the mask (B, F) of real frames."""
        inside = ~inputs[..., 0].isnan()
        with torch.autocast(inputs.device.type, enabled=False):
            wave = inputs[..., 0].float().masked_fill(~inside, 0.0) * self.scale
            energies, mask = self.log_mel(wave, inside)
            centred = less_recording(energies, mask.unsqueeze(-1))
            if self.training:
                centred = masked_bands(centred)
        return self.project(centred / 4.0), mask


class TokenStem(nn.Module):
    """Embeds tokens (B, T), of which 0 pads.

    Args:
        vocab_size: V.
        dim: Features D of a token.
    """

    def __init__(self, vocab_size: int, *, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim, padding_idx=0)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, T, D) and the mask (B, T) of real tokens."""
        return self.embedding(inputs), inputs.ne(0)


def less_recording(energies: Tensor, real: Tensor) -> Tensor:
    """Return log energies (B, F, M) without noise and mean of the recording; 0 is padding.

    Args:
        energies: (B, F, M).
        real: (B, F, 1), True at frames that are no padding.
    """
    loudest = energies.masked_fill(~real, -math.inf).amax(dim=(1, 2), keepdim=True)
    noise = (loudest - RANGE).clamp(min=torch.finfo(energies.dtype).min)  # no frames: no loudest
    heard = torch.logaddexp(energies, noise).masked_fill(~real, 0.0)
    mean = heard.sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True).clamp(min=1)
    return (heard - mean).masked_fill(~real, 0.0)


def masked_bands(energies: Tensor, *, share: float = 0.2) -> Tensor:
    """Return energies (B, F, M) with a band of frequencies of each row at 0, the mean.

    Paper: Park et al. 2019, arXiv:1904.08779 (SpecAugment), frequency masking.

    Args:
        energies: Less their mean.
        share: Of the bands that are masked, at most.
    """
    size, bands = len(energies), energies.shape[2]
    width = torch.rand(size, 1, device=energies.device) * share * bands
    start = torch.rand(size, 1, device=energies.device) * (bands - width)
    place = torch.arange(bands, device=energies.device)
    masked = (place >= start) & (place < start + width)  # (B, M)
    return energies.masked_fill(masked.unsqueeze(1), 0.0)
