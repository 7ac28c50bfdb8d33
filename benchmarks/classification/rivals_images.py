"""The loop that most image classifiers are trained by: transforms per image, and a DataLoader."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.schedules import warmup_cosine
from mlexpert.recipes import get

WORKERS = 2
BATCH, RATE, DECAY, SMOOTHING, SHIFT = 128, 0.2, 5e-4, 0.1, 2
"""Those of image-cls; the loop decays norms and biases too, as most do."""


def small_resnet(pixels: np.ndarray, *, num_classes: int, seed: int) -> ResNet:
    """Return the network that image-cls takes by default, for images (N, H, W[, C])."""
    torch.manual_seed(seed)
    fields = get("image-cls").config()
    return ResNet(
        in_channels=1 if pixels.ndim == 3 else pixels.shape[3],
        num_classes=num_classes,
        image_size=(pixels.shape[1], pixels.shape[2]),
        depth=fields["depth"],
        width=fields["width"],
    )


class Images(Dataset):
    """Images (N, H, W, C) of bytes, each changed on its own when it is asked for."""

    def __init__(self, pixels: np.ndarray, targets: np.ndarray, change: v2.Transform) -> None:
        self.pixels = pixels if pixels.ndim == 4 else pixels[..., None]
        self.targets, self.change = targets, change

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = tv_tensors.Image(torch.from_numpy(self.pixels[row]).permute(2, 0, 1))
        return self.change(image), int(self.targets[row])


class Loop:
    """SGD with Nesterov momentum in fp32, its rate on the schedule of image-cls.

    Args:
        model: Maps standardised images to logits.
        pixels: Training images (N, H, W[, C]) of bytes.
        targets: Their classes (N,).
        epochs: Passes.
        seed: Of the order and the augmentation.
    """

    def __init__(
        self, model: nn.Module, pixels: np.ndarray, targets: np.ndarray, *, epochs: int, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.epochs = model.to(self.device), epochs
        axes = tuple(range(pixels.ndim if pixels.ndim == 3 else 3))
        mean, std = np.atleast_1d(pixels.mean(axes) / 255), np.atleast_1d(pixels.std(axes) / 255)
        self.to_input = [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean.tolist(), std.tolist()),
        ]
        size = pixels.shape[1:3]
        flip = [v2.RandomHorizontalFlip()] if pixels.ndim == 4 else []
        change = v2.Compose([v2.RandomCrop(size, padding=SHIFT), *flip, *self.to_input])
        self.rows = Images(pixels, targets, change)
        self.loader = DataLoader(
            self.rows, batch_size=BATCH, shuffle=True, num_workers=WORKERS, drop_last=False
        )
        self.optimizer = torch.optim.SGD(
            model.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=DECAY
        )
        steps, factor = epochs * len(self.loader), warmup_cosine(0.25)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: factor(step / steps)
        )

    def train(self) -> None:
        """Train to the end."""
        for _ in range(self.epochs):
            self.model.train()
            for images, targets in self.loader:
                logits = self.model(images.to(self.device))
                loss = F.cross_entropy(logits, targets.to(self.device), label_smoothing=SMOOTHING)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.schedule.step()

    @torch.inference_mode()
    def predict_proba(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities (N, K)."""
        self.model.eval()
        rows = Images(pixels, np.zeros(len(pixels), int), v2.Compose(self.to_input))
        batches = DataLoader(rows, batch_size=512, num_workers=WORKERS)
        found = [
            self.model(images.to(self.device)).float().softmax(1).cpu() for images, _ in batches
        ]
        return torch.cat(found).double().numpy()
