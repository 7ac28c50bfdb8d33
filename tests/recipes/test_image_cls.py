"""image-cls from images to predictions: every augmentation, optimiser and kind of start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.optim import SGD, AdamW

import mlexpert
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.networks.images import image_size_of
from mlexpert.preparation import Roles, prepare
from mlexpert.recipe import Recipe
from mlexpert.recipes import get
from mlexpert.training.method import Batch, summed
from mlexpert.training.methods.image_augmentation import ImageAugmentation, mixed
from tests.small_data import images, table

NOTHING = ImageAugmentation(
    policy="none",
    shift=0,
    flip=False,
    rand_ops=2,
    rand_magnitude=9,
    erase=0.0,
    mixup=0.0,
    cutmix=0.0,
    num_classes=3,
)


def recipe(**fields: object) -> Recipe:
    return get("image-cls", **{"epochs": 1, "width": 4, "precision": "fp32", **fields})


def fit(ds: object, run_dir: Path, **fields: object) -> Fitted:
    return recipe(**fields).fit(ds, run_dir=run_dir, progress=False)


def batch(rows: int = 8, weights: torch.Tensor | None = None) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.rand(rows, 3, 8, 8), torch.arange(rows) % 3, torch.arange(rows), weights)


def test_it_learns_bright_tops_and_bottoms(tmp_path: Path) -> None:
    stack, labels = images(200)
    fitted = fit((stack, labels), tmp_path / "run", epochs=8)
    found = fitted.predict(images(100, seed=1)[0])
    assert (found == images(100, seed=1)[1]).mean() > 0.95


@pytest.mark.parametrize(
    "fields",
    [
        {"augment": "trivial", "erase": 0.5, "mixup": 0.2, "flip": True},
        {"augment": "rand", "rand_ops": 1, "cutmix": 1.0, "ema": 0.9, "optimizer": "adamw"},
        {"augment": "none", "mixup": 0.2, "cutmix": 1.0, "class_weight": "balanced", "tta": True},
    ],
)
def test_every_option_trains_and_travels(fields: dict, tmp_path: Path) -> None:
    stack, labels = images(60)
    fitted = fit((stack, labels), tmp_path / "run", **fields)
    expected = fitted.predict_proba(stack[:8])
    loaded = mlexpert.load(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(stack[:8]), expected)


def test_policies_change_images_and_nothing_else() -> None:
    rows = batch()
    assert torch.equal(NOTHING(rows).inputs, rows.inputs)
    for policy in ("light", "trivial", "rand"):
        changed = replace(NOTHING, policy=policy, shift=1, flip=True, erase=0.5)(rows)
        assert not torch.equal(changed.inputs, rows.inputs)
        assert torch.equal(changed.targets, rows.targets) and changed.index is rows.index
        assert changed.inputs.min() >= 0 and changed.inputs.max() <= 1
    one = replace(NOTHING, mixup=1.0, cutmix=1.0)(rows)
    assert one.targets.shape == (8, 3) and one.weights is None
    torch.testing.assert_close(one.targets.sum(dim=1), torch.ones(8))


def test_the_loss_of_mixed_rows_is_the_mixture_of_their_weighted_losses() -> None:
    weights = torch.tensor([0.0, 1.0, 3.0, 0.5])
    rows, shares = batch(4, weights), torch.tensor([0.2, 0.7, 0.5, 1.0])
    partners = torch.tensor([1, 0, 3, 2])

    def mix(pixels, columns, generator):
        return pixels, shares[:, None] * columns + (1 - shares[:, None]) * columns[partners]

    logits = torch.randn(4, 3)
    made = mixed(rows, mix, 3)
    found = summed(cross_entropy(logits, made.targets), made)
    expected = shares * weights * cross_entropy(logits, rows.targets) + (1 - shares) * weights[
        partners
    ] * cross_entropy(logits, rows.targets[partners])
    torch.testing.assert_close(found.total, expected.sum())
    torch.testing.assert_close(
        torch.as_tensor(found.count), (shares * weights + (1 - shares) * weights[partners]).sum()
    )


def settled(ds: object, **fields: object) -> tuple[Recipe, object]:
    chosen = get("image-cls", **fields)
    schema = prepare(chosen, ds, Roles()).schema
    return chosen.settle(schema), schema


def test_what_is_left_open_follows_from_the_images() -> None:
    grey, labels = images(120)
    color = np.repeat(grey[..., None], 3, axis=3)
    assert settled((grey, labels))[0].flip is False
    assert settled((color, labels))[0].flip is True
    assert settled((color, labels), flip=False)[0].flip is False
    found = settled((grey, labels), lr=0.3)[0]
    assert (found.lr, found.optimizer, found.layer_decay) == (0.3, "sgd", 1.0)
    assert None not in (found.epochs, found.batch_size, found.shift, found.ema)


@pytest.mark.parametrize(
    ("backbone", "optimizer"), [("test_resnet", SGD), ("test_vit", AdamW), ("auto", SGD)]
)
def test_the_optimiser_follows_from_the_network(backbone: str, optimizer: type) -> None:
    chosen, schema = settled(images(40), backbone=backbone)
    assert type(chosen.build(schema).optimizer) is optimizer


def test_fine_tuning_starts_from_local_weights_with_rates_that_fall(tmp_path: Path) -> None:
    original = timm.create_model("test_resnet", num_classes=5)
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    chosen, schema = settled(images(40), backbone="test_resnet", weights=str(tmp_path))
    parts = chosen.build(schema)
    assert isinstance(parts.optimizer, AdamW)
    assert len({group["lr"] for group in parts.optimizer.param_groups}) > 3
    kept = parts.network.model[1].state_dict()["layer1.0.conv1.weight"]
    assert torch.equal(kept, original.state_dict()["layer1.0.conv1.weight"])


def test_a_saved_model_is_a_start_for_other_classes(tmp_path: Path) -> None:
    stack, labels = images(60)
    first = fit((stack, labels), tmp_path / "run")
    folder = first.save(tmp_path / "model")
    names = np.array(["a", "b", "c"])[np.arange(60) % 3]
    chosen, schema = settled((stack, names), width=4, weights=str(folder))
    model = chosen.build(schema).network.model
    before = first.parts.network.model[1].stem[0].weight
    assert torch.equal(model[1].stem[0].weight, before)
    with pytest.raises(InputError, match=r"stem\.0\.weight"):
        settled((stack, names), width=8, weights=str(folder))[0].build(schema)


def test_views_leave_names_alone(tmp_path: Path) -> None:
    chosen, schema = settled(images(40), tta=True, width=4)
    torch.manual_seed(0)
    viewed = chosen.build(schema).network.model
    torch.manual_seed(0)
    plain = replace(chosen, tta=False).build(schema).network.model
    assert list(viewed.state_dict()) == list(plain.state_dict())
    inputs = torch.rand(2, 1, 12, 12)
    assert torch.equal(viewed(inputs), plain(inputs))
    assert not torch.equal(viewed.eval()(inputs), plain.eval()(inputs))


def test_folders_of_mixed_images_train_and_predict(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(12):
            side = (1, 9, 14, 20)[number % 4]
            pixels = np.clip(rng.normal(level, 20, (side, side + number % 3, 3)), 0, 255)
            image = Image.fromarray(pixels.astype(np.uint8))
            mode = ("RGB", "L", "RGBA", "P", "CMYK", "1")[number % 6]
            form = "tif" if mode == "CMYK" else "png"
            image.convert(mode).save(tmp_path / "data" / name / f"{number}.{form}")
    fitted = fit(str(tmp_path / "data"), tmp_path / "run", epochs=3)
    files = sorted((tmp_path / "data" / "dark").iterdir())
    assert set(fitted.predict(files)) <= {"dark", "light"}


def test_images_of_one_pixel_are_enlarged_and_learnt(tmp_path: Path) -> None:
    labels = np.arange(80) % 2
    stack = (labels * 150 + np.arange(80)).astype(np.uint8).reshape(80, 1, 1, 1)
    fitted = fit((stack, labels), tmp_path / "run", epochs=6)
    assert image_size_of(fitted.schema.image, None) == (8, 8)
    assert (fitted.predict(stack) == labels).mean() > 0.9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 9}, "depth=9.*6n"),
        ({"erase": 1.5}, "erase=1.5"),
        ({"mixup": -1.0}, "mixup=-1.0"),
        ({"rand_magnitude": 31}, "from 0 to 30"),
        ({"augment": "hard"}, "augment='hard'"),
        ({"pretrained": True, "weights": "x"}, "weights='x'.*None if pretrained"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(**fields)


def test_what_cannot_be_had_leaves_nothing(offline: None, tmp_path: Path) -> None:
    for ds, fields, message in (
        (table().rename(columns={"bought": "label"}), {}, "takes image inputs.*take tabular-cls"),
        (images(40), {"backbone": "resnet81"}, "Did you mean 'resnet18'"),
        (images(40), {"backbone": "test_resnet", "pretrained": True}, "could not be fetched"),
        (images(40), {"weights": str(tmp_path / "none")}, "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            fit(ds, tmp_path / "run", **fields)
    assert list(tmp_path.iterdir()) == []
