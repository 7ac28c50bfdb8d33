"""What recipes share that take any kind of rows: a network for each, and the fields behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.networks.images import image_network
from mlexpert.networks.tables import table_network
from mlexpert.networks.texts import text_network
from mlexpert.recipe import Network, Recipe
from mlexpert.training.method import Batch
from mlexpert.training.methods.cross_entropy import moved


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe(Recipe):
    """A recipe for image, text or tabular rows, with a network of the kind."""

    backbone: str = "auto"
    """auto: a small ResNet (images), a small transformer (text) or an ensemble (tables). Or the
    name of a timm model for images ("mlp" for two hidden layers of 400 on the pixels), the name or
    folder of a transformers encoder for text."""
    pretrained: bool = False
    """Start a timm model from its published weights; needs a hub within reach. An encoder for text
    always does."""
    depth: int | None = None
    """Layers of the small ResNet for images, 6n + 2. None: 8."""
    image_size: int | None = None
    """Height and width in pixels that images are resized to. None: their own where it is one size,
    up to 256."""
    max_length: int = 256
    """Tokens of a text that are read; the rest is cut off."""
    shift: int | None = None
    """Largest random shift of a training image, in pixels. None: the recipe's own choice for its
    size."""
    flip: bool = False
    """Mirror training images at random; not for digits, letters, or anything else where left and
    right matter."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        is_depth = self.depth is None or (self.depth >= 8 and self.depth % 6 == 2)
        self.require(is_depth, "depth", "6n + 2: 8, 14, 20, 26, 32, ...")
        own = self.depth is None or self.backbone == "auto"
        self.require(own, "depth", f"None, as backbone={self.backbone!r} has its own")
        self.require(self.image_size is None or self.image_size >= 1, "image_size", "at least 1")
        self.require(self.max_length >= 1, "max_length", "at least 1")
        self.require(self.shift is None or self.shift >= 0, "shift", "0 or more")

    def refuse_fields_of_images(self, schema: Schema) -> None:
        """Refuse a field for images that is set for other rows.

        Raises:
            InputError: Naming field and value.
        """
        for name in ("shift", "flip", "pretrained", "image_size", "depth"):
            given = getattr(self, name)
            if given and schema.kind != "image":
                raise InputError(
                    f"{name}={given!r} is for images, and these rows are {schema.kind}."
                )

    def network(self, schema: Schema) -> Network:
        """Return the network for this kind of input.

        Raises:
            InputError: If the backbone's name is unknown for this kind of input.
        """
        if schema.kind == "image":
            return image_network(
                schema,
                backbone=self.backbone,
                image_size=self.image_size,
                depth=self.depth or 8,
                pretrained=self.pretrained,
            )
        if schema.kind == "text":
            return text_network(schema, backbone=self.backbone, max_length=self.max_length)
        if self.backbone != "auto":
            raise InputError(
                f"backbone={self.backbone!r}: a table has one network; leave backbone at 'auto'."
            )
        return table_network(schema)

    def augmentation(self) -> Callable[[Batch], Batch]:
        """Return what moves and mirrors the images of a batch; other inputs stay as they are."""
        return partial(moved, shift=self.shift or 0, flip=self.flip)
