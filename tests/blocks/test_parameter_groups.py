"""Parameter groups against timm's own, and against layers of transformers counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.errors import InputError

LR, DECAY, FACTOR = 0.1, 0.05, 0.75


def resnet() -> nn.Module:
    backbone = ResNet(in_channels=3, num_classes=2, image_size=(8, 8), depth=14, width=4)
    return nn.Sequential(ImageNormalize([0.5] * 3, [0.2] * 3), backbone)


def text() -> nn.Module:
    return TextTransformer(vocab_size=50, num_classes=4, max_length=12, width=16, num_layers=3)


def bert() -> nn.Module:
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 10}
    return BertForSequenceClassification(BertConfig(num_hidden_layers=3, **sizes))


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", depth=4)


def groups_of(model: nn.Module, layer_decay: float = FACTOR) -> list[dict[str, Any]]:
    return layerwise_groups(model, lr=LR, weight_decay=DECAY, layer_decay=layer_decay)


def by_name(model: nn.Module, groups: list[dict[str, Any]], rate: str) -> dict[str, Any]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    settled = [(names[p], (g[rate], g["weight_decay"])) for g in groups for p in g["params"]]
    assert len(settled) == len(dict(settled)), "a parameter in two groups"
    return dict(settled)


def exponents(model: nn.Module) -> dict[str, int]:
    """For every parameter, how often the rate of the head was multiplied by the factor."""
    rates = {
        name: torch.tensor(rate / LR).log().div(torch.tensor(FACTOR).log()).item()
        for name, (rate, _) in by_name(model, groups_of(model), "lr").items()
    }
    assert all(rate == pytest.approx(round(rate), abs=1e-4) for rate in rates.values())
    return {name: round(rate) for name, rate in rates.items()}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "convnext_atto"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_timm_models_are_grouped_as_timm_does(name: str, wrapped: bool) -> None:
    model = timm.create_model(name)
    reference = param_groups_layer_decay(model, weight_decay=DECAY, layer_decay=FACTOR)
    expected = by_name(model, reference, "lr_scale")
    if wrapped:
        model = nn.Sequential(ImageNormalize([0.5] * 3, [0.2] * 3), model)
        expected = {f"1.{key}": value for key, value in expected.items()}
    mine = by_name(model, groups_of(model), "lr")
    assert mine.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for key, (scale, weight_decay) in expected.items():
        assert mine[key] == (pytest.approx(LR * scale), weight_decay), key


class Unnamed(nn.Module):
    """Holds a timm model's parts, but not its knowledge of their order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)


def test_the_general_rule_finds_the_order_that_timm_knows() -> None:
    model = timm.create_model("resnet18")
    assert exponents(Unnamed(model)) == exponents(model)


def test_layers_of_a_transformers_encoder() -> None:
    starts = {
        "bert.embeddings.": 4,
        **{f"bert.encoder.layer.{layer}.": 3 - layer for layer in range(3)},
        "bert.pooler.": 0,
        "classifier.": 0,
    }
    for name, exponent in exponents(bert()).items():
        assert [power for start, power in starts.items() if name.startswith(start)] == [exponent]


def test_layers_of_our_backbones() -> None:
    starts = {"tokens": 4, "positions": 4, "neighbours": 4, "norm": 0, "head": 0}
    starts |= {f"layers.{layer}": 3 - layer for layer in range(3)}
    for name, exponent in exponents(text()).items():
        assert [power for start, power in starts.items() if name.startswith(start)] == [exponent]
    starts = {"1.stem": 7, "1.head": 0}
    starts |= {f"1.stages.{i // 2}.{i % 2}": 6 - i for i in range(6)}
    for name, exponent in exponents(resnet()).items():
        assert [power for start, power in starts.items() if name.startswith(start)] == [exponent]


@pytest.mark.parametrize("make", [resnet, text, bert, vit])
def test_a_factor_of_one_gives_a_decayed_group_and_one_that_is_not(
    make: Callable[[], nn.Module],
) -> None:
    model = make()
    groups = groups_of(model, 1.0)
    assert [(group["weight_decay"], group["lr"]) for group in groups] == [(DECAY, LR), (0.0, LR)]
    for group, is_decayed in zip(groups, (True, False), strict=True):
        expected = [p for p in model.parameters() if (p.ndim >= 2) == is_decayed]
        assert all(mine is its for mine, its in zip(group["params"], expected, strict=True))


@pytest.mark.parametrize("make", [resnet, text, bert, vit])
def test_every_trainable_parameter_is_in_one_group_and_the_head_in_the_first(
    make: Callable[[], nn.Module],
) -> None:
    model = make()
    frozen = {name for name, _ in list(model.named_parameters())[:3]}
    for name in frozen:
        model.get_parameter(name).requires_grad = False
    groups = groups_of(model)
    settled = by_name(model, groups, "lr")
    assert settled.keys() == dict(model.named_parameters()).keys() - frozen
    assert [group["lr"] for group in groups] == sorted((g["lr"] for g in groups), reverse=True)
    assert groups[0]["lr"] == LR
    for name, (_, weight_decay) in settled.items():
        assert weight_decay == (DECAY if model.get_parameter(name).ndim >= 2 else 0.0)
    torch.optim.AdamW(groups)  # takes each parameter once, or raises


def test_a_network_without_blocks_is_refused_unless_the_factor_is_one() -> None:
    model = TabularEnsemble([[0.0, 1.0], 4], 2)
    assert len(groups_of(model, 1.0)) == 2
    with pytest.raises(InputError, match=r"layer_decay=0.75.*no blocks.*Leave it at 1"):
        groups_of(model)


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.01, float("nan")])
def test_the_factor_is_above_zero_and_at_most_one(factor: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        groups_of(text(), factor)
