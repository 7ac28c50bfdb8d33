"""The idea of each loss-type recipe on small long-tailed data, and fields that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mlexpert.blocks.layers.cosine_linear import CosineLinear, GroupedCosineLinear
from mlexpert.errors import InputError
from mlexpert.networks.heads import head_of, weights_of
from mlexpert.preparation import Roles, prepare
from mlexpert.recipes import get
from mlexpert.training.method import Batch
from mlexpert.training.methods.deferred import Deferred
from tests.small_data import images, of_kind, table

TEST_ROWS = 40
"""Images of each digit that are kept to compare by."""


def long_tailed_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Digits of which 0 has 130 images and 9 has 5, and as many of each to compare by."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    train, test = [], []
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        count = round(130 * 26 ** (-digit / 9))
        test.extend(rows[:TEST_ROWS])
        train.extend(rows[TEST_ROWS : TEST_ROWS + count])
    return pixels[train], labels[train], pixels[test], labels[test]


def tail_recall(name: str, folder: Path, **fields) -> float:
    """Train for few epochs; return the mean recall of the three rarest digits."""
    train_x, train_y, test_x, test_y = long_tailed_digits()
    settings = {"epochs": 15, "batch_size": 32, "test": 0.0, "keep": "last", **fields}
    recipe = get(name, precision="fp32", channels_last=False, **settings)
    fitted = recipe.fit((train_x, train_y), run_dir=folder, progress=False)
    hit = np.asarray(fitted.predict(test_x)) == test_y
    return float(hit[test_y >= 7].mean())


def test_an_adjusted_loss_lifts_the_tail(tmp_path: Path) -> None:
    plain = tail_recall("imbalanced-cls/plain", tmp_path / "plain")
    lifted = tail_recall("imbalanced-cls/logit-adjusted-loss", tmp_path / "adjusted")
    assert lifted > plain + 0.05


def built(name: str, kind: str, **fields):
    recipe = get(name, **fields)
    prepared = prepare(recipe, of_kind(kind), Roles())
    settled = recipe.settle(prepared.schema)
    torch.manual_seed(0)
    return settled, settled.build(prepared.schema), prepared.schema


@pytest.mark.parametrize("kind", ["image", "text", "tabular"])
def test_ldam_has_cosine_logits_in_every_network(kind: str) -> None:
    recipe, parts, schema = built("imbalanced-cls/ldam-drw", kind)
    head = head_of(parts.network.model)[2]
    assert isinstance(head, GroupedCosineLinear if kind == "tabular" else CosineLinear)
    assert head.scale == recipe.scale and head.out_features == schema.num_classes
    trained = {id(p) for group in parts.optimizer.param_groups for p in group["params"]}
    assert id(head.weight) in trained  # the optimiser was made after the head


@pytest.mark.parametrize("name", ["drw", "ldam-drw"])
@pytest.mark.parametrize("kind", ["image", "tabular"])
def test_weights_begin_after_a_fraction_of_training_that_has_a_plan(name: str, kind: str) -> None:
    recipe, parts, schema = built(f"imbalanced-cls/{name}", kind, defer=0.75)
    assert isinstance(parts.method, Deferred)
    assert recipe.patience == 0 and recipe.keep == "last"
    assert parts.method.start == np.ceil(0.75 * recipe.epochs * schema.num_examples)
    weight, counts = parts.method.class_weight, torch.tensor(schema.class_counts)
    assert float((weight * counts).sum() / counts.sum()) == pytest.approx(1)
    own = built(f"imbalanced-cls/{name}", kind, patience=3, epochs=7)[0]
    assert (own.patience, own.epochs) == (3, 7)


def test_tau_norm_reads_the_head_of_the_weights_that_are_kept(tmp_path: Path) -> None:
    recipe = get("imbalanced-cls/tau-norm", epochs=2, batch_size=32)
    fitted = recipe.fit(of_kind("image", 3), run_dir=tmp_path, progress=False)
    weight, bias = weights_of(head_of(fitted.parts.network.model)[2])
    centred = weight[0] - weight[0].mean(dim=0)
    rule = fitted.parts.decide
    torch.testing.assert_close(rule.norm, centred.norm(dim=1))
    torch.testing.assert_close(rule.bias, bias[0] - bias[0].mean())
    assert float(rule.tau) == pytest.approx(0.7)
    assert "to the power of 0.7:" in fitted.facts["decision"]["rule"]
    assert fitted.facts["decision"]["tau"] == 0  # else the report speaks of the classes' shares


def test_tau_norm_is_for_more_than_two_classes() -> None:
    with pytest.raises(InputError, match="there are 2 classes.*Take imbalanced-cls"):
        get("imbalanced-cls/tau-norm").fit(images(), progress=False)


def test_remix_is_for_images() -> None:
    with pytest.raises(InputError, match=r"takes image inputs.* are tabular; take imbalanced-cls,"):
        get("imbalanced-cls/remix").fit(table(), target="bought", progress=False)


def test_remix_mixes_weights_as_it_mixes_targets() -> None:
    """Rows of class 0 weigh one and of class 1 three; a mixture has as much weight as its share."""
    _, parts, _ = built("imbalanced-cls/remix", "image")
    targets = torch.arange(64) % 2
    rows = Batch(torch.rand(64, 1, 12, 12), targets, torch.arange(64), 1.0 + 2.0 * targets)
    made = parts.method.augment(rows)
    share = made.targets[:, 1] * made.weights / 3  # of class 1, before weights lean it
    torch.testing.assert_close(made.weights, 1 + 2 * share)
    assert ((share > 0) & (share < 1)).sum() > 10


def test_a_network_without_a_linear_head_is_refused_by_name() -> None:
    for name in ["ldam-drw", "tau-norm"]:
        recipe = get(
            f"imbalanced-cls/{name}", backbone="deit_tiny_distilled_patch16_224", image_size=224
        )
        schema = prepare(recipe, images(rows=60), Roles()).schema
        with pytest.raises(InputError, match="VisionTransformerDistilled ends in"):
            recipe.settle(schema).build(schema)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("logit-adjusted-loss", {"tau": -0.5}),
        ("logit-adjusted-loss", {"tau": float("inf")}),
        ("focal", {"gamma": -1.0}),
        ("class-balanced", {"beta": 1.0}),
        ("class-balanced", {"gamma": float("nan")}),
        ("drw", {"beta": -0.1}),
        ("drw", {"defer": 1.0}),
        ("ldam-drw", {"max_margin": 2.5}),
        ("ldam-drw", {"scale": 0.0}),
        ("ldam-drw", {"defer": -0.1}),
        ("remix", {"alpha": 0.0}),
        ("remix", {"kappa": 1.0}),
        ("remix", {"tau": 1.5}),
    ],
)
def test_fields_that_cannot_be_meant_are_refused_by_name(name: str, fields: dict) -> None:
    with pytest.raises(InputError, match=f"imbalanced-cls/{name}: {next(iter(fields))}="):
        get(f"imbalanced-cls/{name}", **fields)
