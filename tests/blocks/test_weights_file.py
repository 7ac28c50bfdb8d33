"""Weights from a local file: they arrive, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.restoring import restoring
from mlexpert.blocks.backbones.timm_model import has_batch_norm, timm_model
from mlexpert.blocks.backbones.weights_file import fill, read_weights
from mlexpert.errors import InputError


def saved(model: nn.Module, folder: Path) -> Path:
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def build(name: str, weights: Path, *, num_classes: int = 4, channels: int = 3, size: int = 32):
    return timm_model(
        name,
        num_classes=num_classes,
        in_channels=channels,
        image_size=(size, size),
        weights=str(weights),
    )


@pytest.mark.parametrize("stored", [4, 7])
def test_a_timm_model_starts_from_a_folder_and_from_a_file(tmp_path: Path, stored: int) -> None:
    original = timm.create_model("test_resnet", num_classes=stored).eval()
    folder = saved(original, tmp_path / "weights")
    inputs = torch.rand(2, 3, 160, 160)
    for path in (folder, folder / "model.safetensors"):
        model = build("test_resnet", path, size=160).eval()
        features = [m.forward_features(inputs) for m in (model, original)]
        assert torch.equal(*features)
        if stored == 4:
            assert torch.equal(model(inputs), original(inputs))
        assert model.num_classes == 4


def test_weights_of_three_channels_fit_grey_images_and_small_ones(tmp_path: Path) -> None:
    original = timm.create_model("test_resnet", num_classes=4)
    model = build("test_resnet", saved(original, tmp_path / "weights"), channels=1)
    kernel = original.state_dict()["conv1.0.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.state_dict()["conv1.0.weight"], kernel)
    vit = timm.create_model("test_vit", num_classes=4)
    model = build("test_vit", saved(vit, tmp_path / "vit"), size=32)
    block = "blocks.0.attn.qkv.weight"
    assert torch.equal(model.state_dict()[block], vit.state_dict()[block])
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)


def test_a_timm_model_names_the_layers_that_do_not_fit(tmp_path: Path) -> None:
    other = saved(timm.create_model("test_vit", num_classes=4), tmp_path / "vit")
    with pytest.raises(InputError, match=r"conv1\.0\.weight"):
        build("test_resnet", other)
    for stored in (4, 7):  # timm itself is less strict where the classes differ
        resnet = timm.create_model("test_resnet", num_classes=stored)
        state = resnet.state_dict()
        state["extra.weight"] = state.pop("layer1.0.conv1.weight")
        save_file(state, tmp_path / "odd.safetensors")
        with pytest.raises(InputError, match=r"(?s)layer1\.0\.conv1\.weight.*extra\.weight"):
            build("test_resnet", tmp_path / "odd.safetensors")
        state = resnet.state_dict()
        state["layer1.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
        save_file(state, tmp_path / "odd.safetensors")
        with pytest.raises(InputError, match=r"layer1\.0\.conv1\.weight.*\[1, 2, 3, 3\]"):
            build("test_resnet", tmp_path / "odd.safetensors")


def small(num_classes: int, width: int = 4) -> ResNet:
    return ResNet(in_channels=1, num_classes=num_classes, image_size=(16, 16), depth=8, width=width)


def test_the_small_resnet_is_filled_and_keeps_a_head_of_its_own(tmp_path: Path) -> None:
    original = small(3).eval()
    state = read_weights(saved(original, tmp_path / "weights"))
    same, other = small(3).eval(), small(5).eval()
    inputs = torch.rand(2, 1, 16, 16)
    fill(same, state, "w", head="head")
    assert torch.equal(same(inputs), original(inputs))
    head = other.head.weight.clone()
    fill(other, state, "w", head="head")
    assert torch.equal(other.head.weight, head)
    assert torch.equal(other.features(inputs), original.features(inputs))


def test_the_small_resnet_names_what_does_not_fit() -> None:
    state = small(3).state_dict()
    state["odd.weight"] = state.pop("stem.0.weight")
    with pytest.raises(InputError, match=r"missing: stem\.0\.weight; unexpected: odd\.weight\."):
        fill(small(3), state, "w", head="head")
    shapes = r"stem\.0\.weight \(\(4, 1, 3, 3\), and the model has \(6, 1, 3, 3\)\).* 31 more"
    with pytest.raises(InputError, match=shapes):
        fill(small(3, width=6), small(3).state_dict(), "w", head="head")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model.safetensors and no such file either"):
        read_weights(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no model.safetensors in it; it holds nothing"):
        read_weights(tmp_path)
    torch.save(small(3).state_dict(), tmp_path / "old.pth")
    with pytest.raises(InputError, match=r"it holds old\.pth"):
        read_weights(tmp_path)
    with pytest.raises(InputError, match="save_file"):
        read_weights(tmp_path / "old.pth")


def test_a_model_that_is_restored_reads_no_weights(tmp_path: Path) -> None:
    with restoring(tmp_path):
        model = build("test_resnet", tmp_path / "gone.safetensors")
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)


def test_batch_norm_tells_which_optimiser_suits() -> None:
    assert has_batch_norm("test_resnet") and has_batch_norm("test_efficientnet")
    assert not has_batch_norm("test_vit") and not has_batch_norm("test_convnext")
    with pytest.raises(InputError, match="resnet18"):
        has_batch_norm("resnet1888")
