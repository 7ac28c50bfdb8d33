"""Linear logits of features that random convolutions make of a series."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.multi_rocket import MultiRocket


class RocketClassifier(nn.Module):
    """Maps a batch of series, or of what the stem reads, to logits (B, K).

    Biases of the convolutions, moments of the features and the head are found and not trained: what
    finds them writes them in here.

    Args:
        stem: Maps the batch to series (B, T, C), standardised and 0 at padding, and their mask
            (B, T).
        convolutions: Map these to features (B, P).
        num_classes: K.
    """

    centre: Tensor
    spread: Tensor
    num_rows: Tensor

    def __init__(self, stem: nn.Module, convolutions: MultiRocket, *, num_classes: int) -> None:
        super().__init__()
        self.stem, self.convolutions = stem, convolutions
        self.register_buffer("centre", torch.zeros(convolutions.num_features))
        self.register_buffer("spread", torch.ones(convolutions.num_features))
        self.register_buffer("num_rows", torch.ones(()))
        self.head = nn.Linear(convolutions.num_features, num_classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the convolutions make of the series, (B, P)."""
        with torch.autocast(inputs.device.type, enabled=False):  # comparisons: no bits to spare
            return self.convolutions(*self.stem(inputs))

    def standardised(self, features: Tensor) -> Tensor:
        """Return features (B, P) in deviations from the mean, and no further than training rows.

        None of N rows is further from their mean than the root of N deviations; where a kernel
        hardly ever gave anything, another row could be thousands away.
        """
        most = self.num_rows.sqrt()
        return ((features - self.centre) / self.spread).clamp(-most, most)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, K)."""
        features = self.standardised(self.features(inputs))
        with torch.autocast(inputs.device.type, enabled=False):  # a sum of 50,000
            return self.head(features)
