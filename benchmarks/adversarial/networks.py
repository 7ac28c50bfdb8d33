"""Networks for MNIST that everyone here attacks, and the loop by hand that trains one."""

from __future__ import annotations

from pathlib import Path

import torch
from borrowed import Rows
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

TINY, SMALL = "tiny 2-conv net", "4-conv net"
FOLDER = Path(__file__).parent / ".cache" / "models"
BATCH = 100


def network(name: str, seed: int = 0) -> nn.Sequential:
    """Return one of the two networks, for images (B, 1, 28, 28) in [0, 1]."""
    torch.manual_seed(seed)
    return tiny() if name == TINY else small()


def tiny() -> nn.Sequential:
    """Return the network of Wong et al. 2020 for MNIST: two strided convolutions."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def small() -> nn.Sequential:
    """Return the network of TRADES for MNIST: four convolutions, three dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 200),
        nn.ReLU(),
        nn.Linear(200, 200),
        nn.ReLU(),
        nn.Linear(200, 10),
    )


def tensors(rows: Rows) -> tuple[Tensor, Tensor]:
    """Return MNIST's images (N, 1, 28, 28) in [0, 1], and digits (N,)."""
    images = torch.from_numpy(rows.inputs).float().div(255).unsqueeze(1)
    return images, torch.from_numpy(rows.targets).long()


def robust(rows: Rows, epsilon: float, *, smoke: bool) -> nn.Module:
    """Return the tiny network after three epochs of PGD-7 by hand, trained once and then kept.

    Args:
        rows: MNIST's training rows.
        epsilon: L-inf radius; it rises over the first epoch, without which nothing is learned.
        smoke: Whether few rows do; that network is not kept.
    """
    model, kept = network(TINY), FOLDER / "tiny-pgd7.pt"
    if kept.exists() and not smoke:
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model.eval()
    images, targets = tensors(rows)
    epochs = 1 if smoke else 3
    total = epochs * -(-len(images) // BATCH)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    done = 0
    for _ in range(epochs):
        for index in torch.randperm(len(images)).split(BATCH):
            radius = epsilon * min(1.0, done * epochs / total)
            moved = pgd(model, images[index], targets[index], radius, 7, radius / 3)
            optimizer.zero_grad()
            cross_entropy(model(moved), targets[index]).backward()
            optimizer.step()
            schedule.step()
            done += 1
    if not smoke:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), kept)
    return model.eval()


def pgd(
    model: nn.Module, images: Tensor, targets: Tensor, epsilon: float, steps: int, step: float
) -> Tensor:
    """Return images after L-inf PGD from a random start, as one writes it by hand.

    The parameters take no gradient meanwhile, which is most of what there is to gain.
    """
    for one in model.parameters():
        one.requires_grad_(False)
    moved = (images + torch.empty_like(images).uniform_(-epsilon, epsilon)).clamp(0, 1)
    for _ in range(steps):
        moved.requires_grad_()
        loss = cross_entropy(model(moved), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + step * gradient.sign()
        moved = (images + (moved - images).clamp(-epsilon, epsilon)).clamp(0, 1)
    for one in model.parameters():
        one.requires_grad_(True)
    return moved
