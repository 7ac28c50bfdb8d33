"""Log-mel spectrogram: the energy of a sound over time, in bands as wide as hearing tells apart.

Papers: Davis & Mermelstein 1980 (triangular bands on the mel scale); the scales are those of HTK
(O'Shaughnessy 1987: 2595 log10(1 + f / 700)) and of Slaney's Auditory Toolbox (1998: linear below
1000 Hz, logarithmic above, bands of equal area).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LogMel(nn.Module):
    """Turns waveforms (B, T) into log energies (B, frames, mels), without a parameter.

    Frame i is centred on sample i `hop`; the sound is silent before its beginning and behind its
    end, so padding a batch changes no frame.

    Args:
        sample_rate: Samples per second, in Hz.
        num_mels: Bands.
        window: Samples of a frame, under a Hann window; 25 ms are usual.
        hop: Samples from frame to frame; 10 ms are usual.
        low: Lower end of the lowest band, in Hz.
        high: Upper end of the highest band, in Hz; None is half the sample rate.
        scale: `slaney` (bands of equal area) or `htk` (bands of equal height).
        floor: Energy below which bands are not told apart; full scale is 1.

    Raises:
        ValueError: If the scale is another, or the bands do not fit between 0 and half the rate.
    """

    filters: Tensor
    taper: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        num_mels: int = 64,
        window: int = 400,
        hop: int = 160,
        low: float = 0.0,
        high: float | None = None,
        scale: Literal["slaney", "htk"] = "slaney",
        floor: float = 1e-6,
    ) -> None:
        super().__init__()
        high = sample_rate / 2 if high is None else high
        if not 0 <= low < high <= sample_rate / 2:
            raise ValueError(f"bands from {low} to {high} Hz do not fit a rate of {sample_rate} Hz")
        self.window, self.hop, self.num_mels, self.floor = window, hop, num_mels, floor
        self.size = 2 ** (window - 1).bit_length()  # of the transform: the next power of two
        frequencies = torch.linspace(0, sample_rate / 2, self.size // 2 + 1, dtype=torch.float64)
        filters = mel_filters(frequencies, num_mels, low=low, high=high, scale=scale)
        self.register_buffer("filters", filters.float(), persistent=False)
        self.register_buffer("taper", torch.hann_window(window), persistent=False)

    def forward(self, waveform: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log energies (B, frames, mels), 0 at padding, and the mask (B, frames) of frames.

        Args:
            waveform: (B, T), full scale at 1.
            mask: (B, T), True at real samples, wherever the padding stands; None where all are. A
                row of n real samples has 1 + n // hop frames, and none if n is 0.
        """
        waveform = waveform.float()
        if mask is None:
            mask = torch.ones_like(waveform, dtype=torch.bool)
        elif (mask[:, 1:] & ~mask[:, :-1]).any():
            order = (~mask).long().argsort(dim=1, stable=True)
            waveform, mask = waveform.gather(1, order), mask.gather(1, order)
        half = self.size // 2
        spectrum = torch.stft(
            F.pad(waveform.masked_fill(~mask, 0.0), (half, half)),
            self.size,
            hop_length=self.hop,
            win_length=self.window,
            window=self.taper,
            center=False,  # it would mirror the end, which padding moves
            return_complex=True,
        )  # (B, bins, frames)
        with torch.autocast(waveform.device.type, enabled=False):
            energy = torch.view_as_real(spectrum).square().sum(-1).mT @ self.filters.mT
        samples = mask.sum(dim=1, keepdim=True)
        index = torch.arange(energy.shape[1], device=energy.device)
        frames = (index * self.hop <= samples) & samples.gt(0)
        return energy.clamp(min=self.floor).log().masked_fill(~frames.unsqueeze(-1), 0.0), frames


def mel_filters(
    frequencies: Tensor, num_mels: int, *, low: float, high: float, scale: str
) -> Tensor:
    """Return triangular bands (mels, bins) over `frequencies` (bins,) in Hz.

    Each rises from the centre of the band below to its own and falls to that of the band above.

    Raises:
        ValueError: If the scale is neither `slaney` nor `htk`.
    """
    if scale not in ("slaney", "htk"):
        raise ValueError(f"scale is slaney or htk, got {scale!r}")
    ends = [_to_mel(hertz, scale) for hertz in (low, high)]
    mels = torch.linspace(ends[0], ends[1], num_mels + 2, dtype=torch.float64)
    edges = torch.tensor([_to_hertz(float(mel), scale) for mel in mels], dtype=torch.float64)
    below, centre, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (frequencies - below) / (centre - below), (above - frequencies) / (above - centre)
    bands = torch.minimum(rise, fall).clamp(min=0)
    return bands * 2 / (above - below) if scale == "slaney" else bands


STEP = 200 / 3
"""Hz of a mel on Slaney's scale below 1000 Hz."""


def _to_mel(hertz: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + hertz / 700)
    return hertz / STEP if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _to_hertz(mel: float, scale: str) -> float:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return mel * STEP if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)
