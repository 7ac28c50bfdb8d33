"""A classifier of sequences: a stem, residual blocks of any mixer, and pooling over real steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.standard_series import StandardSeries


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

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, dim: int) -> None:
        super().__init__()
        self.standard = StandardSeries(mean, std)
        self.project = nn.Linear(len(mean), dim)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, T, D) and the mask (B, T) of real steps."""
        x, mask = self.standard(inputs)
        return self.project(x), mask


class WaveStem(nn.Module):
    """Projects the energies of waveforms (B, T, 1); in training a band of them is masked.

    Args:
        energies: Maps waveforms to energies (B, F, M), 0 on the mean, and the mask of frames.
        num_mels: M.
        dim: Features D of a frame.
    """

    def __init__(self, energies: nn.Module, *, num_mels: int, dim: int) -> None:
        super().__init__()
        self.energies = energies
        self.project = nn.Linear(num_mels, dim)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, F, D) and the mask (B, F) of real frames."""
        energies, mask = self.energies(inputs)
        return self.project(masked_bands(energies) if self.training else energies), mask


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
