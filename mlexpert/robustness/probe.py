"""Questions to a model before it is attacked: does it answer in logits, and have they a slope?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlexpert.blocks.attacks.attacked import attacked, input_gradient, logits_at
from mlexpert.blocks.attacks.margins import margin
from mlexpert.errors import InputError

PROBED = 32
"""Rows that are asked for."""


def probe(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, needs_gradient: bool
) -> tuple[int, bool]:
    """Refuse a model that an attack would be misled by.

    Args:
        model: Maps inputs (B, ...) to logits (B, K); left as it was.
        inputs: (N, ...) that are attacked.
        targets: (N,) class indices.
        needs_gradient: Whether the attack goes by gradients.

    Returns:
        The number of its classes, and whether it has a gradient.

    Raises:
        InputError: If the model does not take the inputs, even one at a time, returns something
            else than finite logits (B, K), or has no gradient where one is needed; or if a label is
            no class of it.
    """
    some, true = inputs[:PROBED], targets[:PROBED]
    with attacked(model):
        logits = _answer(model, some)
        _answer(model, some[:1])  # the last row that stands is asked about alone
        _require_logits(logits, needs_gradient)
        num_classes = logits.shape[1]
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= num_classes:
            raise InputError(
                f"The labels run from {low} to {high}, and the model has {num_classes} outputs: "
                f"classes are 0 to {num_classes - 1}."
            )
        try:
            input_gradient(model, some, lambda found: margin(found, true))
        except InputError:
            if needs_gradient:
                raise
            return num_classes, False
    return num_classes, True


def _answer(model: nn.Module, inputs: Tensor) -> Tensor:
    try:
        logits = logits_at(model, inputs)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise InputError(
            f"The model does not take inputs of shape {tuple(inputs.shape)}: {error}"
        ) from error
    if logits.ndim != 2 or len(logits) != len(inputs) or logits.shape[1] < 2:
        raise InputError(
            f"The model returns shape {tuple(logits.shape)} for inputs {tuple(inputs.shape)}; "
            "attacks need logits (B, K) of two classes and more, also of a single row."
        )
    return logits


def _require_logits(logits: Tensor, needs_gradient: bool) -> None:
    wrong = ~torch.isfinite(logits).all(dim=1)
    if bool(wrong.any()):
        raise InputError(
            f"The model's logits of {int(wrong.sum())} of the first {len(logits)} rows are NaN or "
            "infinite; an attack would count them as broken."
        )
    sums = logits.sum(dim=1)
    if needs_gradient and bool((logits >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all()):
        raise InputError(
            "The model returns probabilities: no number is negative, and each row sums to 1. Their "
            "gradients vanish where the model is sure, and it would look robust. Return logits "
            "(leave out the softmax), or attack='square', which needs no gradient."
        )
