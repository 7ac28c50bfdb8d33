"""Memory aware synapses: how fast the length of the output changes with each weight. No labels.

Paper: Aljundi et al. 2018, arXiv:1711.09601, equation 2 with the squared length of the output, as
its section 4.1 has it.
Differs from the paper: outputs of classes that the loss is not over do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from mlexpert.blocks.importance.per_example import mean_of_gradients


def memory_aware(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    mask: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Return Omega = mean over rows of |d |f(row)|^2 / d theta|, for each weight theta.

    Args:
        model: In eval mode, returns logits (B, K), or (B, M, K) for M members, over whose squared
            lengths the mean is taken.
        batches: Inputs (B, ...) and targets (B,), on the model's device.
        mask: Maps logits and targets (B,) to logits; those that it changes do not count.

    Returns:
        A tensor of its shape for each parameter that requires a gradient, by name.

    Raises:
        InputError: If the model is in training mode, or there are no rows.

    Example:
        >>> model = nn.Linear(1, 1, bias=False).eval()
        >>> model.load_state_dict({"weight": torch.tensor([[3.0]])})
        <All keys matched successfully>
        >>> rows = [(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 0]))]
        >>> memory_aware(model, rows, mask=lambda logits, targets: logits)["weight"]
        tensor([[15.]])
    """

    def directions(logits: Tensor, targets: Tensor) -> Tensor:
        counted = logits.where(mask(logits, targets) == logits, 0.0)
        members = logits.shape[1] if logits.ndim == 3 else 1
        return (2.0 / members * counted)[None]

    return mean_of_gradients(model, batches, directions, torch.abs)
