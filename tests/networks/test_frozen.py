"""Frozen networks of every kind: what their features are, and that the head alone may move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from mlexpert.blocks.layers.nearest_mean_head import NearestMeanHead
from mlexpert.blocks.layers.random_features import RandomFeatures
from mlexpert.blocks.reaching import reaching
from mlexpert.data.intake import read
from mlexpert.data.schema import Schema, describe
from mlexpert.data.splits import split
from mlexpert.errors import InputError
from mlexpert.networks import frozen
from mlexpert.networks.frozen import frozen_network, require_room
from mlexpert.networks.heads import head_of, replace_head
from tests.blocks.test_pretrained_text import tokenizer
from tests.small_data import of_kind


def part(kind: str):
    """Training rows of a kind, and their schema."""
    ds = of_kind(kind, 3)
    rows = read(ds) if kind == "image" else read(ds, target="label")
    train = split(rows, validation=0.2, test=0.2, seed=0).train
    return train, describe(train)


def logits_of(schema: Schema, train, **fields):
    network = frozen_network(schema, **fields)
    return network.model.eval(), network.encode(train).take(torch.arange(6))


@pytest.mark.parametrize("kind", ["image", "tabular", "text"])
def test_without_weights_the_head_alone_has_parameters(kind: str) -> None:
    train, schema = part(kind)
    model, inputs = logits_of(schema, train)
    head = head_of(model)[2]
    assert {id(p) for p in model.parameters()} == {id(p) for p in head.parameters()}
    features = reaching(head, model, inputs)
    assert features.shape == (6, head.in_features) and features.isfinite().all()
    torch.testing.assert_close(head(features), model(inputs))
    assert features.std(dim=0).max() > 0


def test_pixels_are_standardised_and_nothing_else() -> None:
    train, schema = part("image")
    model, inputs = logits_of(schema, train)
    expected = (inputs - schema.image.mean[0]) / schema.image.std[0]
    torch.testing.assert_close(reaching(head_of(model)[2], model, inputs), expected.flatten(1))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_a_timm_model_gives_the_features_before_its_head(name: str) -> None:
    train, schema = part("image")
    model, inputs = logits_of(schema, train, backbone=name, image_size=32)
    inputs = nn.functional.interpolate(inputs, size=(32, 32))
    network, head = model[-1], head_of(model)[2]
    expected = network.forward_head(network.forward_features(model[0](inputs)), pre_logits=True)
    torch.testing.assert_close(reaching(head, model, inputs), expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_the_head_behind_a_projection_is_found(name: str) -> None:
    train, schema = part("image")
    model, _ = logits_of(schema, train, backbone=name, image_size=32)
    inner = nn.Linear(40, 3)
    replace_head(model, nn.Sequential(RandomFeatures(head_of(model)[2].in_features, 40), inner))
    assert head_of(model)[2] is inner
    assert reaching(inner, model, torch.rand(2, 1, 32, 32)).shape == (2, 40)


def test_features_are_found_although_the_model_is_compiled() -> None:
    model = nn.Sequential(nn.Flatten(), NearestMeanHead(nn.Linear(4, 2)))
    model._compiled_call_impl = lambda *_: pytest.fail("a hook would not be run")
    assert reaching(model[1], model, torch.ones(3, 2, 2)).shape == (3, 4)


def test_an_encoder_gives_the_mean_of_its_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = tokenizer(
        {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    )
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), intermediate_size=32, num_labels=3, **sizes)
    reference = BertForSequenceClassification(config).eval()
    reference.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    _, schema = part("text")
    network = frozen_network(schema, backbone=str(tmp_path))
    model, ids = network.model.eval(), words("good film")["input_ids"]
    states = reference.bert(torch.tensor([ids])).last_hidden_state[0]
    found = reaching(head_of(model)[2], model, torch.tensor([[*ids, 0, 0], [*ids[:2], *[0] * 4]]))
    torch.testing.assert_close(found[0], states.mean(dim=0), atol=1e-6, rtol=1e-5)
    network.companions["encoder"](tmp_path / "saved")
    assert (tmp_path / "saved" / "config.json").exists()


def test_features_that_memory_does_not_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "available_bytes", lambda: 32 * 1000**2)
    require_room(1000, "take fewer")
    with pytest.raises(InputError, match="products of 1001 features .* take fewer"):
        require_room(1001, "take fewer")


def test_a_table_has_no_backbone() -> None:
    _, schema = part("tabular")
    with pytest.raises(InputError, match="leave it at 'auto'"):
        frozen_network(schema, backbone="resnet18")
