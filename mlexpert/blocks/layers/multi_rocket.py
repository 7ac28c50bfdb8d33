"""Random convolutions of a series and of its differences, pooled in four ways.

The kernels are nine wide, with six weights of -1 and three of 2: 84 of them, at dilations up to the
length of the series. What a kernel gives is compared with biases, which are quantiles of what it
gives on training rows; pooled are how much of the series is above, by how much, where, and for how
long at a stretch.

Papers: Dempster et al. 2021, arXiv:2012.08791, section 3 (kernels, dilations, biases); Tan et al.
    2022, arXiv:2102.00457, section 3 (differences, and the three further poolings).
Differs from the papers: padding is no part of a series, so that rows of any length may share a
batch; positive values and their places are 0 where there are none, as all four are standardised
later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, KERNELS, POOLINGS = 9, 84, 4
"""Steps of a kernel; kernels; numbers that each kernel and bias give."""
MOST_DILATIONS = 32
TIE = 1e-4
"""Added to biases: where a series stands still all kernels give 0 up to rounding, and a bias of 0
would ask of what sign that is."""
CHUNK = 1 << 21
"""Numbers that the kernels of one dilation give at once: they stay in a processor's cache."""


class MultiRocket(nn.Module):
    """Maps series (B, T, C) to features (B, P), which `choose_biases` has to come before.

    Args:
        channels: C.
        length: Steps of a usual series, by which dilations are chosen.
        num_features: At most this many are made, and as many as are a multiple of 672.

    Attributes:
        num_features: P.

    Raises:
        ValueError: If fewer than 672 features are wanted.
    """

    def __init__(self, channels: int, length: int, *, num_features: int = 50_000) -> None:
        super().__init__()
        per_kernel = num_features // (2 * KERNELS * POOLINGS)
        if per_kernel < 1:
            raise ValueError(f"num_features={num_features}; take {2 * KERNELS * POOLINGS} or more")
        self.num_features = 2 * KERNELS * POOLINGS * per_kernel
        self.of_values = DilatedKernels(channels, length, per_kernel)
        self.of_changes = DilatedKernels(channels, max(1, length - 1), per_kernel)

    def choose_biases(self, x: Tensor, mask: Tensor) -> None:
        """Take biases from series (B, T, C) of training, drawing rows by torch's generator.

        Args:
            x: (B, T, C).
            mask: (B, T), False behind a series' end.
        """
        self.of_values.choose_biases(*values(x, mask))
        self.of_changes.choose_biases(*changes(x, mask))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the features (B, P) of series (B, T, C), whose mask (B, T) ends where they do."""
        return torch.cat(
            [self.of_values(*values(x, mask)), self.of_changes(*changes(x, mask))], dim=1
        )


def values(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return series (B, C, T), 0 behind the end, and their mask."""
    return x.masked_fill(~mask.unsqueeze(-1), 0.0).transpose(1, 2), mask


def changes(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return changes from step to step (B, C, T - 1), and their mask; one step has none."""
    if x.shape[1] == 1:  # a convolution wants a step to see
        return values(x, torch.zeros_like(mask))
    return values(x.diff(dim=1), mask[:, 1:])


class DilatedKernels(nn.Module):
    """The 84 kernels at several dilations, each with some biases.

    Args:
        channels: C; each kernel and dilation hears some of them, whose number is drawn evenly by
            its logarithm, up to 9.
        length: Steps of a usual series.
        per_kernel: Biases of each kernel over all dilations.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, length: int, per_kernel: int) -> None:
        super().__init__()
        self.dilations, self.counts = dilations_of(length, per_kernel)
        heard = torch.zeros(len(self.dilations), KERNELS, channels)
        most = math.log2(min(channels, WIDTH) + 1)
        for row in heard.flatten(0, 1):
            row[torch.randperm(channels)[: int(2 ** (float(torch.rand(())) * most))]] = 1.0
        self.register_buffer("weight", heard.unsqueeze(-1) * kernels()[:, None])  # (D, 84, C, 9)
        self.register_buffer("bias", torch.zeros(KERNELS, per_kernel))

    def choose_biases(self, x: Tensor, mask: Tensor) -> None:
        """Take quantiles of what each kernel gives on one of the rows, a low-discrepancy sequence.

        Args:
            x: (B, C, T).
            mask: (B, T).
        """
        golden = (math.sqrt(5) - 1) / 2
        place = torch.arange(1, self.bias.numel() + 1, dtype=torch.float64)
        quantiles = (place * golden % 1).float().view(self.bias.shape).to(x.device)
        at = 0
        for number, count in enumerate(self.counts):
            for kernel, row in enumerate(torch.randint(len(x), (KERNELS,)).tolist()):
                one = slice(row, row + 1)
                given, inside = self._convolved(number, x[one], mask[one], [kernel])
                heard = given[inside]
                if len(heard):
                    own = quantiles[kernel, at : at + count]
                    self.bias[kernel, at : at + count] = heard.quantile(own) + TIE
            at += count

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the features (B, 4 x 84 x biases) of series (B, C, T)."""
        rows = max(1, CHUNK // (KERNELS * x.shape[2]))
        parts = zip(x.split(rows), mask.split(rows), strict=True)
        return torch.cat([self._pooled(*part) for part in parts])

    def _pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        pooled, at = [], 0
        for number, count in enumerate(self.counts):
            given, inside = self._convolved(number, x, mask)
            for bias in self.bias[:, at : at + count].unbind(dim=1):
                pooled.append(poolings(given - bias[:, None], inside))
            at += count
        return torch.cat(pooled, dim=1)

    def _convolved(
        self, number: int, x: Tensor, mask: Tensor, kernels: Sequence[int] = range(KERNELS)
    ) -> tuple[Tensor, Tensor]:
        """Return what K kernels give at a dilation, (B, K, T), and where it counts.

        Half of the kernels see zeros beyond the ends, the others count inside alone.
        """
        of = torch.tensor(kernels, device=x.device)
        dilation = self.dilations[number]
        reach = WIDTH // 2 * dilation
        given = F.conv1d(x, self.weight[number, of], padding=reach, dilation=dilation)
        place = torch.arange(x.shape[2], device=x.device)
        within = (place >= reach) & (place < mask.sum(dim=1, keepdim=True) - reach)  # (B, T)
        padded = (of + number) % 2 == 0
        return given, torch.where(padded[:, None], mask[:, None], within[:, None])


def poolings(z: Tensor, inside: Tensor) -> Tensor:
    """Return four numbers of each row of values (B, K, T): (B, 4 K).

    They are the share of values above 0, their mean, the mean of their places, and the longest
    stretch of them (Tan et al. 2022, equations 1 to 4).

    Args:
        z: (B, K, T).
        inside: (B, K, T), True where a value counts.
    """
    place = torch.arange(z.shape[2], device=z.device)
    above = (z > 0) & inside
    count = above.sum(dim=2)
    some = count.clamp(min=1)
    last_below = place.to(torch.int32).masked_fill(above, -1).cummax(dim=2).values
    return torch.cat(
        [
            count / inside.sum(dim=2).clamp(min=1),
            z.masked_fill(~above, 0.0).sum(dim=2) / some,
            above.to(z.dtype) @ place.to(z.dtype) / some,
            (place - last_below).amax(dim=2).to(z.dtype),
        ],
        dim=1,
    )


def kernels() -> Tensor:
    """Return every kernel (84, 9) of three weights of 2 and six of -1."""
    out = torch.full((KERNELS, WIDTH), -1.0)
    for row, chosen in zip(out, combinations(range(WIDTH), 3), strict=True):
        row[list(chosen)] = 2.0
    return out


def dilations_of(length: int, per_kernel: int) -> tuple[list[int], list[int]]:
    """Return dilations, evenly spaced by their logarithm, and how many biases each has.

    The widest kernel is as long as the series.

    Args:
        length: Steps of a series.
        per_kernel: Biases in all.
    """
    number = min(per_kernel, MOST_DILATIONS)
    highest = max(0.0, math.log2(max(1, length - 1) / (WIDTH - 1)))
    drawn = torch.logspace(0, highest, number, base=2, dtype=torch.float64).long()
    dilations, times = drawn.unique(return_counts=True)
    counts = (times * per_kernel // number).tolist()
    for place in range(per_kernel - sum(counts)):  # what rounding left
        counts[place % len(counts)] += 1
    return dilations.tolist(), counts
