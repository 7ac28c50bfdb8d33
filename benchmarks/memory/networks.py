"""The networks whose memory is predicted and measured, each with a batch of random inputs."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.training.method import Batch, Loss, Method


class CrossEntropy(Method):
    """Sums the cross-entropy of a micro-batch, of an ensemble the mean over its members."""

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss of a micro-batch."""
        logits = model(batch.inputs)
        members = logits if logits.dim() == 3 else logits.unsqueeze(1)  # (B, M, K)
        targets = batch.targets[:, None].expand(members.shape[:2])
        total = F.cross_entropy(members.flatten(0, 1), targets.flatten(), reduction="sum")
        return Loss(total / members.shape[1], float(len(batch)))


class Lstm(nn.Module):
    """Classifies token ids (B, T) by the mean of an LSTM's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(1000, 128)
        self.lstm = nn.LSTM(128, 256, batch_first=True)
        self.head = nn.Linear(256, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, 10)."""
        return self.head(self.lstm(self.tokens(inputs))[0].mean(1))


def pixels(*shape: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.rand(rows, *shape)


def tokens(vocabulary: int, length: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.randint(1, vocabulary, (rows, length))


def resnet(depth: int) -> nn.Module:
    return ResNet(in_channels=3, num_classes=10, image_size=(32, 32), depth=depth)


# name: the network, its inputs, and a batch of which a step takes hundreds of MiB
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]] = {
    "MLP 784-256-10": (
        lambda: nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)),
        pixels(784),
        65536,
    ),
    "ResNet-8": (lambda: resnet(8), pixels(3, 32, 32), 512),
    "ResNet-20": (lambda: resnet(20), pixels(3, 32, 32), 256),
    "TextTransformer, T=256": (
        lambda: TextTransformer(vocab_size=5000, num_classes=6, max_length=256, num_layers=2),
        tokens(5000, 256),
        32,
    ),
    "TabularEnsemble": (
        lambda: TabularEnsemble([torch.linspace(0, 1, 49).tolist()] * 20, 10),
        pixels(20),
        4096,
    ),
    "ViT-tiny (timm)": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10),
        pixels(3, 224, 224),
        16,
    ),
    "ConvNeXt-atto (timm)": (
        lambda: timm.create_model("convnext_atto", num_classes=10),
        pixels(3, 224, 224),
        16,
    ),
    "LSTM, T=128": (Lstm, tokens(1000, 128), 256),
}


def build(name: str, share: int) -> tuple[nn.Module, Method, torch.optim.Optimizer, Batch]:
    """Return the parts of a training, with a batch that is smaller by a factor."""
    torch.manual_seed(0)
    model, inputs, rows = NETWORKS[name]
    rows //= share
    network = model().train()
    batch = Batch(inputs(rows), torch.randint(0, 6, (rows,)), torch.arange(rows))
    return network, CrossEntropy(), torch.optim.AdamW(network.parameters(), 1e-3), batch
