"""The networks whose steps are timed: our defaults for every kind of input, and a few others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.blocks.backbones.timm_model import timm_model
from mlexpert.blocks.layers.image_normalize import ImageNormalize


@dataclass(frozen=True)
class Case:
    """A network, the shape of its batch, and who makes it."""

    name: str
    shape: tuple[int, ...]
    num_classes: int
    build: Callable[[], nn.Module]
    vocab_size: int = 0

    def inputs(self) -> Tensor:
        """Return a batch that looks like real data: pixels in [0, 1], token ids, or columns."""
        if self.vocab_size:
            return torch.randint(1, self.vocab_size, self.shape)
        return torch.rand(self.shape) if len(self.shape) == 4 else torch.randn(self.shape)


def _normalised(backbone: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(ImageNormalize([0.3] * channels, [0.3] * channels), backbone)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def _resnet(depth: int, channels: int, size: int) -> nn.Module:
    net = ResNet(in_channels=channels, num_classes=10, image_size=(size, size), depth=depth)
    return _normalised(net, channels)


def _timm(name: str) -> nn.Module:
    return _normalised(timm_model(name, num_classes=10, in_channels=3, image_size=(64, 64)), 3)


def _text() -> nn.Module:
    return TextTransformer(vocab_size=8000, num_classes=6, max_length=256)


def _table(columns: int) -> nn.Module:
    quantiles = torch.randn(columns, 257).sort().values
    return TabularEnsemble(quantiles.tolist(), 2)


CASES = (
    Case("MLP 784-256-10", (128, 1, 28, 28), 10, _mlp),
    Case("ResNet-8, grey 28 px (demo)", (64, 1, 28, 28), 10, lambda: _resnet(8, 1, 28)),
    Case("ResNet-8, colour 32 px", (128, 3, 32, 32), 10, lambda: _resnet(8, 3, 32)),
    Case("ResNet-20, colour 32 px", (128, 3, 32, 32), 10, lambda: _resnet(20, 3, 32)),
    *(
        Case(f"text transformer, {length} tokens", (64, length), 6, _text, 8000)
        for length in (16, 32, 256)
    ),
    *(
        Case(f"tabular ensemble, {columns} columns", (rows, columns), 2, partial(_table, columns))
        for rows, columns in ((64, 5), (128, 16), (256, 16), (128, 50), (256, 50))
    ),
    *(
        Case(f"timm {name}, 64 px", (16, 3, 64, 64), 10, partial(_timm, name))
        for name in ("resnet18", "mobilenetv3_small_100")
    ),
)
