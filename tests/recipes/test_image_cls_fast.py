"""image-cls/fast: images that grow, views that alternate, what is refused, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import mlexpert
from mlexpert.blocks.backbones.speed_net import SpeedNet
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.blocks.optimizers.muon import Muon
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.preparation import Roles, prepare
from mlexpert.recipes import get
from mlexpert.recipes.image_cls.fast import BIAS_LR, HEAD_LR, GrowingImages, ImageClsFast
from mlexpert.training.method import Batch, Method
from tests.small_data import images

MODEL = nn.Identity()


def fit(ds: object, run_dir: Path, **fields: object) -> Fitted:
    recipe = get("image-cls/fast", **{"epochs": 1, "width": 4, "precision": "fp32", **fields})
    return recipe.fit(ds, run_dir=run_dir, progress=False)


def growing(**fields: object) -> GrowingImages:
    arguments = {"shift": 0, "flip": False, "smallest": 0.75, "steps_per_epoch": 4, "steps": 12}
    return GrowingImages(cross_entropy, **{**arguments, **fields})


def batch(side: int = 32, rows: int = 6) -> Batch:
    torch.manual_seed(0)
    index = torch.arange(rows)
    return Batch(torch.rand(rows, 3, side, side), index % 3, index)


def drawn(method: GrowingImages, given: Batch, steps: int) -> list[Tensor]:
    """Return what so many steps see of a batch, whether they move weights or fp16 skips them."""
    seen = []
    for _ in range(steps):
        made = method.draw(MODEL, given)
        assert made.targets is given.targets and made.index is given.index
        seen.append(made.inputs)
    return seen


def test_images_grow_by_thirds_of_training_and_the_first_step_sees_them_whole() -> None:
    given = batch()
    before = given.inputs.clone()
    seen = drawn(growing(), given, 12)
    assert [images.shape[-1] for images in seen] == [32] + 3 * [24] + 4 * [28] + 4 * [32]
    assert torch.equal(given.inputs, before)
    expected = F.interpolate(before, size=(24, 24), mode="bilinear", antialias=True)
    torch.testing.assert_close(seen[1], expected)
    assert torch.equal(seen[-1], before)


def test_no_image_shrinks_below_what_the_network_takes_and_growth_can_be_left_out() -> None:
    sides = {seen.shape[-1] for seen in drawn(growing(smallest=0.1), batch(12), 12)}
    assert sides == {10, 12}
    assert all(torch.equal(x, batch().inputs) for x in drawn(growing(smallest=1.0), batch(), 12))


def test_every_image_is_mirrored_in_every_other_epoch() -> None:
    given = batch(rows=64)
    method = growing(flip=True, smallest=1.0)
    first, second, third = drawn(method, given, 12)[::4]
    mirrored = (first != given.inputs).flatten(1).any(dim=1)
    assert 16 < mirrored.sum() < 48
    expected = torch.where(mirrored.view(-1, 1, 1, 1), given.inputs.flip(3), given.inputs)
    assert torch.equal(first, expected) and torch.equal(second, expected.flip(3))
    assert torch.equal(third, first)


def test_within_an_epoch_views_do_not_change() -> None:
    seen = drawn(growing(flip=True, smallest=1.0), batch(), 8)
    assert all(torch.equal(view, seen[0]) for view in seen[1:4])
    assert all(torch.equal(view, seen[4]) for view in seen[5:])


def test_what_goes_on_from_a_checkpoint_sees_what_it_would_have_seen() -> None:
    whole, broken, resumed = (growing(flip=True) for _ in range(3))
    expected = drawn(whole, batch(), 12)
    drawn(broken, batch(), 5)
    resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
    for found, wanted in zip(drawn(resumed, batch(), 7), expected[5:], strict=True):
        assert torch.equal(found, wanted)


def test_a_fit_draws_the_sizes_that_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []

    def note(self: Method, model: nn.Module, made: Batch) -> None:
        sides.append(made.inputs.shape[-1])

    monkeypatch.setattr(Method, "after_step", note)
    fit(images(100, size=16), tmp_path / "run", epochs=3, batch_size=32)
    steps = len(sides) // 3  # of an epoch, and epochs are as many as stages
    assert sides == [16] + (steps - 1) * [12] + steps * [14] + steps * [16]


def settled(ds: object, **fields: object) -> tuple[ImageClsFast, object]:
    chosen = get("image-cls/fast", **fields)
    schema = prepare(chosen, ds, Roles()).schema
    return chosen.settle(schema), schema


def test_every_weight_moves_by_the_rule_for_its_kind() -> None:
    chosen, schema = settled(images(100, size=16), width=4, batch_size=50)
    parts = chosen.build(schema)
    assert isinstance(parts.optimizer, Muon)
    orthogonal, head, biases = parts.optimizer.param_groups
    assert [p.ndim for p in orthogonal["params"]] == 6 * [4] and orthogonal["fixed_norm"]
    assert [p.shape for p in head["params"]] == [(2, 16)]
    assert [p.ndim for p in biases["params"]] == 6 * [1]
    assert (orthogonal["lr"], head["lr"], biases["lr"]) == (0.24, HEAD_LR, BIAS_LR)
    for group in (head, biases):  # decoupled: of the weight, 2e-6 per image of a batch
        assert group["lr"] * group["weight_decay"] == pytest.approx(50 * 2e-6)
    trained = {p for group in parts.optimizer.param_groups for p in group["params"]}
    assert trained == {p for p in parts.network.model.parameters() if p.requires_grad}


def test_only_colour_is_mirrored_unless_told() -> None:
    grey, labels = images(100, size=16)
    color = np.repeat(grey[..., None], 3, axis=3)
    assert settled((grey, labels))[0].flip is False
    assert settled((color, labels))[0].flip is True
    assert settled((grey, labels), flip=True)[0].flip is True


def mixed_sizes() -> tuple[list[np.ndarray], np.ndarray]:
    stack, labels = images(60, size=16)
    return [image[: 14 + row % 3] for row, image in enumerate(stack)], labels


def one_pixel() -> tuple[np.ndarray, np.ndarray]:
    stack, labels = images(60, size=1)
    return stack.reshape(60, 1, 1, 1), labels


@pytest.mark.parametrize(
    ("ds", "fields", "message"),
    [
        (images(60, size=9), {}, "10 pixels and more.*9 x 9; set image_size=20"),
        (images(60, size=2), {"image_size": 9}, "image_size=9.*at least 10"),
        (mixed_sizes(), {}, "one size, and these differ.*take image-cls"),
        (mixed_sizes(), {"image_size": 16}, "one size, and these differ.*take image-cls"),
        (one_pixel(), {"image_size": 16}, "patches of 2 x 2 pixels.*1 x 1; take image-cls"),
        (images(60, size=12), {"shift": 12}, "shift=12; it has to be below 12, the side"),
        (images(60, size=12), {"smallest": 0.0}, "smallest=0.0"),
        (images(60, size=12), {"smallest": 1.5}, "smallest=1.5"),
        (images(60, size=12), {"width": 0}, "width=0"),
        (images(60, size=12), {"shift": -1}, "shift=-1"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    ds: object, fields: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        fit(ds, tmp_path / "run", **fields)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_shift_that_is_allowed_trains(tmp_path: Path) -> None:
    assert fit(images(60, size=10), tmp_path / "run", shift=9).evaluate()["accuracy"] >= 0


def test_it_learns_small_digits_and_a_saved_model_says_the_same(tmp_path: Path) -> None:
    digits, labels = load_digits(return_X_y=True)
    stack = (digits.reshape(-1, 8, 8) * 15).astype(np.uint8)
    train, test = slice(0, 1_400), slice(1_400, None)
    fitted = fit(
        (stack[train], labels[train]), tmp_path / "run", epochs=4, width=16, image_size=16, test=0
    )
    found = fitted.predict(stack[test])
    assert (found == labels[test]).mean() >= 0.9  # a tenth by guessing
    loaded = mlexpert.load(fitted.save(tmp_path / "model"))
    expected = fitted.predict_proba(stack[test])
    np.testing.assert_array_equal(loaded.predict_proba(stack[test]), expected)


def test_views_are_for_predictions_and_not_for_the_score_of_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    real = SpeedNet.forward

    def note(self: SpeedNet, inputs: Tensor) -> Tensor:
        if not self.training:
            looks.append(len(inputs))
        return real(self, inputs)

    ds = images(100, size=12)
    with monkeypatch.context() as patched:
        patched.setattr(SpeedNet, "forward", note)
        fitted = fit(ds, tmp_path / "run", epochs=5, flip=True)
    rows = fitted.facts["data"]["parts"]["validation"]["rows"]
    # An epoch's score looks once at each row, and training rows once; the decision six times.
    assert sum(looks[:5]) == 5 * rows and sum(looks[5:11]) == 6 * rows
    looks.clear()
    with monkeypatch.context() as patched:
        patched.setattr(SpeedNet, "forward", note)
        fitted.predict(ds[0][:7])
    assert looks == 6 * [7]
