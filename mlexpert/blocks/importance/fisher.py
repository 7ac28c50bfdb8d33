"""The diagonal of the Fisher information: how fast predictions change with each weight.

Paper: Kirkpatrick et al. 2017, arXiv:1612.00796; in its exact form, with the expectation over the
model's own labels and the square of every row's own gradient: van de Ven 2025, arXiv:2502.11756.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from mlexpert.blocks.importance.per_example import mean_of_gradients

Labels = Literal["expected", "sampled", "empirical"]


def fisher(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    mask: Callable[[Tensor, Tensor], Tensor],
    labels: Labels = "expected",
) -> dict[str, Tensor]:
    """Return F = mean over rows of E_y (d log p(y | row) / d theta)^2, for each weight theta.

    It is the same for any batch size: every row's gradient is squared by itself.

    Args:
        model: In eval mode, returns logits (B, K), or (B, M, K) for M members. Then log p is the
            members' mean, as in the loss that they are trained by, and y is drawn by the mean of
            their probabilities.
        batches: Inputs (B, ...) and targets (B,), on the model's device.
        mask: Maps logits and targets (B,) to logits in which those of classes that the loss is not
            over are so low that their probability is 0.
        labels: Which y. "expected": all of them, by their probability under the model, which
            costs a backward pass a class; "sampled": one that is drawn by it, from torch's default
            generator; "empirical": the row's target, which is not the Fisher information but is
            often taken for it.

    Returns:
        A tensor of its shape for each parameter that requires a gradient, by name.

    Raises:
        InputError: If the model is in training mode, or there are no rows.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(1, 2).eval()
        >>> model.load_state_dict({"weight": torch.zeros(2, 1), "bias": torch.zeros(2)})
        <All keys matched successfully>
        >>> rows = [(torch.tensor([[2.0]]), torch.tensor([0]))]
        >>> fisher(model, rows, mask=lambda logits, targets: logits)["weight"].round()
        tensor([[1.],
                [1.]])
    """

    def directions(logits: Tensor, targets: Tensor) -> Tensor:
        return _scores(logits, targets, mask, labels)

    return mean_of_gradients(model, batches, directions, torch.square)


def _scores(
    logits: Tensor,
    targets: Tensor,
    mask: Callable[[Tensor, Tensor], Tensor],
    labels: Labels,
) -> Tensor:
    """Return sqrt(p(y)) d log p(y) / d logits (D, B, ...) for all labels y, or for one of p = 1."""
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        log_p = mask(logits, targets).log_softmax(dim=-1)
        p = log_p.detach().exp()
        if log_p.ndim == 3:
            log_p, p = log_p.mean(dim=1), p.mean(dim=1)
        if labels == "expected":
            possible = (p.amax(dim=0) > 0).nonzero().flatten().tolist()
            terms = [(p[:, y].sqrt() * log_p[:, y]).sum() for y in possible]
        else:
            drawn = torch.multinomial(p, 1) if labels == "sampled" else targets[:, None]
            terms = [log_p.gather(1, drawn).sum()]
        return torch.stack(
            [torch.autograd.grad(term, logits, retain_graph=True)[0] for term in terms]
        )
