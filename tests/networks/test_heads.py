"""The head of every network that there is: it is the layer that the logits come from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.speed_net import SpeedNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.backbones.text_cnn import TextCnn
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.blocks.backbones.timm_model import timm_model
from mlexpert.blocks.layers.grouped_linear import GroupedLinear
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.layers.image_views import ImageViews
from mlexpert.blocks.layers.patch_whitening import PatchWhitening
from mlexpert.errors import InputError
from mlexpert.networks.heads import head_of, replace_head

IMAGE, TOKENS = (2, 3, 32, 32), (2, 9)
SIZES = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 4,
}


def in_stack(network: nn.Module) -> nn.Module:
    return ImageViews(ImageNormalize([0.5] * 3, [0.3] * 3), network)


def timm_stack(name: str, size: int = 32) -> nn.Module:
    return in_stack(timm_model(name, num_classes=4, in_channels=3, image_size=(size, size)))


class Encoder(nn.Module):
    """What `PretrainedText` makes of an encoder, without its files."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.encoder(input_ids=inputs, attention_mask=inputs.ne(0).long()).logits


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet": (
        lambda: in_stack(ResNet(in_channels=3, num_classes=4, image_size=(32, 32), depth=8)),
        IMAGE,
    ),
    "speed": (
        lambda: in_stack(
            SpeedNet(
                PatchWhitening(torch.eye(12).tolist(), channels=3),
                num_classes=4,
                widths=(8, 8, 8),
            )
        ),
        IMAGE,
    ),
    "timm resnet": (lambda: timm_stack("test_resnet"), IMAGE),
    "timm convnext": (lambda: timm_stack("test_convnext"), IMAGE),
    "timm efficientnet": (lambda: timm_stack("test_efficientnet"), IMAGE),
    "timm vit": (lambda: timm_stack("test_vit"), IMAGE),
    "timm vit behind a resize": (lambda: timm_stack("test_vit", 100), (2, 3, 100, 100)),
    "text transformer": (
        lambda: TextTransformer(vocab_size=20, num_classes=4, max_length=9, width=16),
        TOKENS,
    ),
    "text cnn": (lambda: TextCnn(vocab_size=20, num_classes=4, width=8, filters=4), TOKENS),
    "table": (
        lambda: TabularEnsemble([[0.0, 1.0, 2.0], 3], 4, num_members=3, width=8),
        (2, 2),
    ),
    "bert": (lambda: Encoder(BertForSequenceClassification(BertConfig(**SIZES))), TOKENS),
    "roberta": (
        lambda: Encoder(RobertaForSequenceClassification(RobertaConfig(**SIZES, pad_token_id=1))),
        TOKENS,
    ),
    "electra": (lambda: Encoder(ElectraForSequenceClassification(ElectraConfig(**SIZES))), TOKENS),
    "distilbert": (
        lambda: Encoder(
            DistilBertForSequenceClassification(
                DistilBertConfig(
                    vocab_size=20, dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=4
                )
            )
        ),
        TOKENS,
    ),
    "modernbert": (
        lambda: Encoder(
            ModernBertForSequenceClassification(
                ModernBertConfig(**SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2)
            )
        ),
        TOKENS,
    ),
}


def inputs_of(shape: tuple[int, ...]) -> torch.Tensor:
    if len(shape) == 4:
        return torch.rand(shape)
    if shape == TOKENS:
        return torch.randint(3, 20, shape)
    return torch.tensor([[0.3, 2.0], [1.7, 1.0]])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_come_from_the_head(name: str) -> None:
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    model, inputs = build().train(), inputs_of(shape)
    parent, attribute, head = head_of(model)
    assert getattr(parent, attribute, None) is head or parent.get_submodule(attribute) is head
    made: list[torch.Tensor] = []
    head.register_forward_hook(lambda _module, _inputs, output: made.append(output))
    logits = model(inputs)
    assert logits.shape[-1] == 4
    scale = 1 / 9 if name == "speed" else 1  # which SpeedNet has behind its head
    torch.testing.assert_close(logits, made[0] * scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_head_takes_its_place(name: str) -> None:
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    model = build().eval()
    _, _, old = head_of(model)
    if isinstance(old, GroupedLinear):
        groups, features, _ = old.weight.shape
        new: nn.Module = GroupedLinear(groups, features, 7)
    else:
        new = nn.Linear(old.in_features, 7)
    replace_head(model, new)
    assert head_of(model)[2] is new
    with torch.no_grad():
        assert model(inputs_of(shape)).shape[-1] == 7


def test_layers_that_are_no_head_are_named() -> None:
    with pytest.raises(InputError, match=r"Encoder ends in Conv1d.*Choose another backbone"):
        head_of(nn.Sequential(nn.Flatten(), Encoder(nn.Conv1d(3, 2, 1))))
    with pytest.raises(InputError, match="Identity ends in Identity"):
        head_of(nn.Identity())
    two = timm_stack("deit_tiny_distilled_patch16_224", 224)
    with pytest.raises(InputError, match="VisionTransformerDistilled ends in Linear and Linear"):
        replace_head(two, nn.Linear(192, 4))
