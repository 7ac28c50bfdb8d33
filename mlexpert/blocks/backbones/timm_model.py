"""Any model of the timm library by name, with a stem that fits small images."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from mlexpert.blocks.backbones.restoring import restored_folder
from mlexpert.blocks.backbones.weights_file import read_weights, refuse_misfits
from mlexpert.blocks.layers.small_image_stem import is_small
from mlexpert.errors import InputError

STEM_POOLS = ("maxpool", "features.pool0")
"""Where timm's ResNets and DenseNets keep the max-pool that follows the first convolution."""
SMALL_IMAGE_PATCHES = 8
"""Patches per side that a small image has at least: of 4 by 4 pixels at 32, as usual on CIFAR."""


def timm_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    pretrained: bool = False,
    weights: str | None = None,
) -> nn.Module:
    """Build a timm model for images of a given size.

    Up to 64 pixels the model keeps resolution where it would lose it first: the first convolution
    gets stride 1 and the max-pool after it goes; a vision transformer gets smaller patches. Sizes
    that its patches do not divide are resized up to the next that they do.

    Args:
        name: Architecture, or architecture and weights, as in `resnet18.a1_in1k`.
        num_classes: Outputs K.
        in_channels: Channels C of the images.
        image_size: Height and width in pixels.
        pretrained: Whether to start from published weights, fetched where they are not cached.
            Inside `restoring` nothing is fetched.
        weights: A file or folder to start from instead; see `read_weights`. timm fits the first
            layer to other channels and patches, and the head stays new where its outputs differ.

    Returns:
        A module from standardised images (B, C, H, W) to logits (B, K).

    Raises:
        InputError: If the name is unknown, the weights cannot be had or do not fit, or the model
            cannot take such images.
    """
    settings = _settings(name)
    takes_size = settings is not None and bool(settings.fixed_input_size)
    is_new = restored_folder() is None
    fetch = pretrained and is_new
    start: dict[str, Any] = {"pretrained": fetch}
    if weights is not None and is_new:
        start = _start_from(weights, settings)
    try:
        model = _create(name, num_classes, in_channels, image_size if takes_size else None, start)
        if weights is not None and is_new:
            _refuse_other_layers(model, start, _heads(settings), weights)
        if is_small(image_size) and not takes_size:
            _keep_resolution(model, getattr(settings, "first_conv", None))
        model = _fit_patches(model, image_size)
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"The pretrained weights of {name!r} could not be fetched ({type(error).__name__}). "
            "Connect to the model hub, or fetch them once on a machine that can and copy its "
            "cache, or set pretrained=False."
        ) from error
    except Exception as error:  # each of a thousand architectures refuses in its own way
        raise InputError(
            f"timm cannot build {name!r} for {image_size[0]} x {image_size[1]} pixels"
            f"{' with these weights' if start['pretrained'] else ''}: {error}"
        ) from error
    _try_out(model, name, in_channels, image_size)
    return model


def has_batch_norm(name: str) -> bool:
    """Say whether a timm model has batch norm, as networks that SGD trains well do.

    Raises:
        InputError: If the name is unknown.
    """
    _settings(name)
    with torch.device("meta"):
        model = timm.create_model(name)
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def _settings(name: str) -> Any:
    """Return what timm knows of the model's published weights, or None."""
    if not timm.is_model(name):
        raise InputError(_unknown(name))
    try:
        return timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(_unknown_weights(name)) from error


def _start_from(path: str, settings: Any) -> dict[str, Any]:
    """Return the arguments with which timm starts a model from the weights at `path`."""
    state = read_weights(path)
    overlay: dict[str, Any] = {"state_dict": state}
    for head in _heads(settings):
        if f"{head}.weight" in state:
            overlay["num_classes"] = len(state[f"{head}.weight"])
    return {"pretrained": True, "pretrained_cfg_overlay": overlay}


def _refuse_other_layers(
    model: nn.Module, start: dict[str, Any], heads: tuple[str, ...], path: str
) -> None:
    """Refuse weights whose layers have other names; timm has already compared their shapes."""
    ends = tuple(f"{head}." for head in heads)

    def names(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {name: () for name in tensors if not name.startswith(ends)}

    state = start["pretrained_cfg_overlay"]["state_dict"]
    refuse_misfits(names(model.state_dict()), names(state), path)


def _heads(settings: Any) -> tuple[str, ...]:
    """Return the names of the last layer, of which some models have two."""
    found = getattr(settings, "classifier", None)
    return (found,) if isinstance(found, str) else tuple(found or ())


def _create(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int] | None,
    start: dict[str, Any],
) -> nn.Module:
    arguments: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels, **start}
    if image_size is None:
        return timm.create_model(name, **arguments)
    arguments["img_size"] = image_size
    model = timm.create_model(name, **arguments)
    patches: Any = getattr(model, "patch_embed", None)
    patch = max(1, max(image_size) // SMALL_IMAGE_PATCHES)
    is_coarse = isinstance(patches, PatchEmbed) and max(patches.patch_size) > patch
    if not (is_small(image_size) and is_coarse):
        return model
    # timm resamples pretrained patch embeddings to the size that is asked for.
    return timm.create_model(name, patch_size=patch, **arguments)


def _keep_resolution(model: nn.Module, first_conv: str | tuple[str, ...] | None) -> None:
    """Take stride and max-pool out of the stem; the weights stay as they are."""
    names = {name for name, _ in model.named_modules()}
    if not isinstance(first_conv, str) or first_conv not in names:
        return
    convolution = model.get_submodule(first_conv)
    if not isinstance(convolution, nn.Conv2d) or max(convolution.stride) == 1:
        return
    convolution.stride = (1, 1)
    for pool in STEM_POOLS:
        if pool in names:
            parent, _, child = pool.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Identity())


def _fit_patches(model: Any, image_size: tuple[int, int]) -> nn.Module:
    patches: Any = getattr(model, "patch_embed", None)
    if not isinstance(patches, PatchEmbed):
        return model
    size = tuple(
        -(-side // patch) * patch
        for side, patch in zip(image_size, patches.patch_size, strict=True)
    )
    if size == tuple(image_size):
        return model
    model.set_input_size(img_size=size)
    return nn.Sequential(nn.Upsample(size=size, mode="bilinear"), model)


@torch.no_grad()
def _try_out(model: nn.Module, name: str, in_channels: int, image_size: tuple[int, int]) -> None:
    training = model.training
    blank: Tensor = torch.zeros(1, in_channels, *image_size)
    try:
        model.eval()(blank)
    except Exception as error:  # as above
        raise InputError(
            f"{name!r} cannot take images of {image_size[0]} x {image_size[1]} pixels ({error}). "
            "Choose another model, or another image size."
        ) from error
    model.train(training)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = (
        f"Did you mean {' or '.join(map(repr, near))}?"
        if near
        else "`timm.list_models()` lists the names."
    )
    return f"timm has no model named {name!r}. {hint}"


def _unknown_weights(name: str) -> str:
    architecture, _, weights = name.partition(".")
    known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
    return f"timm has no weights {weights!r} for {architecture!r}. It has: {known}."
