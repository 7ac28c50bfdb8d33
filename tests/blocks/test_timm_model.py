"""timm models by name: what the stem keeps of small images, and what is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from mlexpert.blocks.backbones.restoring import restoring
from mlexpert.blocks.backbones.timm_model import timm_model
from mlexpert.errors import InputError


def build(name: str, size: tuple[int, int], channels: int = 3) -> nn.Module:
    return timm_model(name, num_classes=4, in_channels=channels, image_size=size)


# test_* are timm's own miniatures of its families; test_resnet has the deep stem, conv1.0.
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_small_images_keep_resolution_and_weights(name: str) -> None:
    torch.manual_seed(0)
    ours = build(name, (32, 32))
    torch.manual_seed(0)
    original = timm.create_model(name, num_classes=4)
    inputs = torch.rand(2, 3, 32, 32)
    assert ours(inputs).shape == (2, 4)
    before, after = (model.forward_features(inputs).shape[-1] for model in (original, ours))
    assert after > before
    assert ours.state_dict().keys() == original.state_dict().keys()
    for key, value in original.state_dict().items():
        assert (
            torch.equal(value, ours.state_dict()[key]) or "num_batches" in key or "running" in key
        )


def test_resnet_loses_its_stride_and_its_max_pool_on_small_images_only() -> None:
    with torch.no_grad():
        small, large = (
            build("resnet10t", (32, 32), channels=1),
            build("resnet10t", (96, 96), channels=1),
        )
        assert small.forward_features(torch.rand(1, 1, 32, 32)).shape[-2:] == (4, 4)
        assert large.forward_features(torch.rand(1, 1, 96, 96)).shape[-2:] == (3, 3)
    assert isinstance(small.maxpool, nn.Identity)
    assert large.maxpool is not None and not isinstance(large.maxpool, nn.Identity)


def test_large_images_get_the_model_as_timm_makes_it() -> None:
    torch.manual_seed(0)
    ours = build("test_resnet", (96, 96)).eval()
    torch.manual_seed(0)
    original = timm.create_model("test_resnet", num_classes=4).eval()
    inputs = torch.rand(2, 3, 96, 96)
    assert torch.equal(ours(inputs), original(inputs))


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (100, 75)])
def test_vision_transformers_take_any_size(size: tuple[int, int]) -> None:
    model = build("test_vit", size, channels=1)
    transformer = model[1] if isinstance(model, nn.Sequential) else model
    rows, columns = transformer.patch_embed.grid_size
    assert model(torch.rand(2, 1, *size)).shape == (2, 4)
    assert min(rows, columns) >= (8 if max(size) <= 64 else 4)


def test_trying_out_leaves_the_mode_and_the_statistics_alone() -> None:
    model = build("test_resnet", (32, 32))
    assert model.training
    assert all(
        not value.any() for key, value in model.state_dict().items() if key.endswith("running_mean")
    )


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'resnet1888'.*'resnet18'"):
        build("resnet1888", (32, 32))
    with pytest.raises(InputError, match="list_models"):
        build("qqqqqqqqqqqq", (32, 32))
    with pytest.raises(InputError, match=r"no weights 'nope'.*resnet18\.a1_in1k"):
        build("resnet18.nope", (32, 32))


def test_size_that_the_model_cannot_take_is_refused() -> None:
    with pytest.raises(InputError, match=r"levit_128s.*28 x 28"):
        build("levit_128s", (28, 28))


@pytest.mark.usefixtures("offline")
def test_pretrained_without_a_network_says_so() -> None:
    with pytest.raises(InputError, match="pretrained=False"):
        timm_model(
            "test_resnet", num_classes=4, in_channels=3, image_size=(32, 32), pretrained=True
        )


@pytest.mark.usefixtures("offline")
def test_pretrained_model_is_restored_without_a_network(tmp_path) -> None:
    with restoring(tmp_path):
        model = timm_model(
            "test_resnet", num_classes=4, in_channels=3, image_size=(32, 32), pretrained=True
        )
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 4)
