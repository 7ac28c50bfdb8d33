"""Any model of the timm library by name, with a stem that fits small images."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from mlexpert.blocks.backbones.restoring import restored_folder
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

    Returns:
        A module from standardised images (B, C, H, W) to logits (B, K).

    Raises:
        InputError: If the name is unknown, the weights cannot be had, or the model cannot take such
            images.
    """
    if not timm.is_model(name):
        raise InputError(_unknown(name))
    try:
        settings = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(_unknown_weights(name)) from error
    takes_size = settings is not None and bool(settings.fixed_input_size)
    fetch = pretrained and restored_folder() is None
    try:
        model = _create(name, num_classes, in_channels, image_size if takes_size else None, fetch)
        if is_small(image_size) and not takes_size:
            _keep_resolution(model, getattr(settings, "first_conv", None))
        model = _fit_patches(model, image_size)
    except OSError as error:
        raise InputError(
            f"The pretrained weights of {name!r} could not be fetched ({type(error).__name__}). "
            "Connect to the model hub, or fetch them once on a machine that can and copy its "
            "cache, or set pretrained=False."
        ) from error
    except Exception as error:  # each of a thousand architectures refuses in its own way
        raise InputError(
            f"timm cannot build {name!r} for {image_size[0]} x {image_size[1]} pixels"
            f"{' with pretrained weights' if fetch else ''}: {error}"
        ) from error
    _try_out(model, name, in_channels, image_size)
    return model


def _create(
    name: str, num_classes: int, in_channels: int, image_size: tuple[int, int] | None, fetch: bool
) -> nn.Module:
    sized: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    model = timm.create_model(
        name, pretrained=fetch, num_classes=num_classes, in_chans=in_channels, **sized
    )
    if image_size is None or not is_small(image_size):
        return model
    patches: Any = getattr(model, "patch_embed", None)
    patch = max(1, max(image_size) // SMALL_IMAGE_PATCHES)
    if not isinstance(patches, PatchEmbed) or max(patches.patch_size) <= patch:
        return model
    # timm resamples pretrained patch embeddings to the size that is asked for.
    return timm.create_model(
        name,
        pretrained=fetch,
        num_classes=num_classes,
        in_chans=in_channels,
        patch_size=patch,
        **sized,
    )


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
