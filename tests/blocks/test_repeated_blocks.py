"""Which modules count as a network's repeated blocks: ours, timm's, those of transformers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    MobileBertConfig,
    MobileBertModel,
)

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.repeated_blocks import repeated_blocks

SIZES = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 10}


def resnet(depth: int) -> nn.Module:
    return ResNet(in_channels=3, num_classes=2, image_size=(8, 8), depth=depth, width=4)


def wrapped(model: nn.Module) -> nn.Module:
    return nn.Sequential(ImageNormalize([0.5], [0.5]), nn.Sequential(nn.Upsample(8), model))


def unit() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def bert(layers: int) -> nn.Module:
    return BertModel(BertConfig(num_hidden_layers=layers, **SIZES))


CASES: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "blocks inside stages": (
        lambda: resnet(14),
        [f"stages.{i}.{j}" for i in range(3) for j in (0, 1)],
    ),
    "stages of one block": (lambda: resnet(8), [f"stages.{i}" for i in range(3)]),
    "inside wrappers": (lambda: wrapped(resnet(8)), [f"1.1.stages.{i}" for i in range(3)]),
    "no stack of blocks": (lambda: TabularEnsemble([[0.0, 1.0], 4], 2), []),
    "units of layers": (
        lambda: nn.Sequential(unit(), unit(), nn.Flatten(), nn.Linear(4, 2)),
        ["0", "1"],
    ),
    "pairs in lists": (
        lambda: nn.ModuleList(
            nn.ModuleList([nn.MultiheadAttention(4, 2), nn.TransformerEncoderLayer(4, 2)])
            for _ in range(2)
        ),
        ["0.0", "0.1", "1.0", "1.1"],
    ),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", depth=4),
        [f"blocks.{i}" for i in range(4)],
    ),
    "timm convnext": (
        lambda: timm.create_model("convnext_atto", depths=(1, 2, 3, 2)),
        [
            "stages.0",
            *(f"stages.{i}.blocks.{j}" for i, n in ((1, 2), (2, 3), (3, 2)) for j in range(n)),
        ],
    ),
    "timm swin": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", depths=(2, 2, 2, 2)),
        [f"layers.{i}.blocks.{j}" for i in range(4) for j in (0, 1)],
    ),
    "bert": (lambda: bert(3), [f"encoder.layer.{i}" for i in range(3)]),
    "albert shares one layer": (
        lambda: AlbertModel(AlbertConfig(embedding_size=4, **SIZES)),
        ["encoder.albert_layer_groups.0.albert_layers.0"],
    ),
    "mobilebert has lists inside its layers": (
        lambda: MobileBertModel(MobileBertConfig(num_hidden_layers=6, **SIZES)),
        [f"encoder.layer.{i}" for i in range(6)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_blocks_are_found_in_order(case: str) -> None:
    make, names = CASES[case]
    model = make()
    blocks = repeated_blocks(model)
    assert list(blocks) == names
    assert all(model.get_submodule(name) is block for name, block in blocks.items())
