"""Log-mel energies of waveforms, less what says how and where they were recorded."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOUDNESS = 0.1
"""Deviation of a sample where full scale is 1: what log-mel energies take for silence stands beside
that."""
RANGE = 9.0
"""Natural logarithms of energy, 39 dB, below the loudest band and frame of a recording: what is
quieter there says how its room and its microphone sound."""
SIZE = 4.0
"""By which log energies are divided, to be as large as other standardised inputs."""


class SoundEnergies(nn.Module):
    """Maps waveforms (B, T, 1), in which NaN pads, to log-mel energies less their mean over time.

    The mean says how loud a recording is and how its microphone sounds, which is not what was said;
    so does the noise between the sounds, which is drowned in an even one `RANGE` below the loudest.
    Samples may be in any unit: they are brought to a usual loudness before, that of training.

    Args:
        log_mel: Maps waveforms (B, T) and their mask to energies (B, F, M) and the frames' mask.
        std: Deviation of a sample, over the training rows.
    """

    scale: Tensor

    def __init__(self, log_mel: nn.Module, *, std: float) -> None:
        super().__init__()
        self.log_mel = log_mel
        self.register_buffer("scale", torch.tensor(LOUDNESS / max(std, 1e-30)))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return energies (B, F, M), 0 at padding, and the mask of frames (B, F)."""
        inside = ~inputs[..., 0].isnan()
        with torch.autocast(inputs.device.type, enabled=False):
            wave = inputs[..., 0].float().masked_fill(~inside, 0.0) * self.scale
            energies, mask = self.log_mel(wave, inside)
            return less_recording(energies, mask.unsqueeze(-1)) / SIZE, mask


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
