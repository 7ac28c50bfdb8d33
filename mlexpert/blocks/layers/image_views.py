"""Test-time augmentation: predictions are averaged over several views of each image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageViews(nn.Sequential):
    """Layers one behind another that, in eval mode, return mean logits over views of each image.

    The views are the image, it shifted up and to the left, and it shifted down and to the right,
    each also mirrored. Shifted ones count half. Training sees the image alone, and the parameters
    have the names that they have in `nn.Sequential`: weights fit either.

    Paper: Jordan 2024, arXiv:2404.00498, section 3.5. What comes into view repeats the edge, where
    the paper mirrors the image, so that images of one pixel pass.

    Args:
        layers: Of a model from images (B, C, H, W) to logits (B, K).
        mirror: Whether to look at mirrored images too.
        shift: Pixels of the shifted views; 0 for none.

    Example:
        >>> import torch
        >>> model = ImageViews(nn.Flatten(), mirror=True).eval()
        >>> model(torch.tensor([[[[0.0, 1.0]]]]))
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, *layers: nn.Module, mirror: bool = False, shift: int = 0) -> None:
        super().__init__(*layers)
        self.mirror, self.shift = mirror, shift

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K), in eval mode those of all views."""
        if self.training:
            return super().forward(inputs)
        views = self._views(inputs)
        total = sum(weight for _, weight in views)
        return torch.stack([weight / total * self._logits(view) for view, weight in views]).sum(0)

    def _logits(self, view: Tensor) -> Tensor:
        logits = super().forward(view)
        return (logits + super().forward(view.flip(3))) / 2 if self.mirror else logits

    def _views(self, inputs: Tensor) -> list[tuple[Tensor, float]]:
        if not self.shift:
            return [(inputs, 1.0)]
        height, width = inputs.shape[2:]
        padded = F.pad(inputs, (self.shift,) * 4, mode="replicate")
        starts = (0, 2 * self.shift)
        shifted = [padded[:, :, at : at + height, at : at + width] for at in starts]
        return [(inputs, 1.0), *((view, 0.5) for view in shifted)]


@contextmanager
def one_view(model: nn.Module) -> Iterator[None]:
    """Let every `ImageViews` in a model look at the image alone for as long as the context lasts.

    For the score of an epoch, which six views would make six times as slow.
    """
    viewed = [module for module in model.modules() if isinstance(module, ImageViews)]
    before = [(module.mirror, module.shift) for module in viewed]
    for module in viewed:
        module.mirror, module.shift = False, 0
    try:
        yield
    finally:
        for module, (mirror, shift) in zip(viewed, before, strict=True):
            module.mirror, module.shift = mirror, shift
