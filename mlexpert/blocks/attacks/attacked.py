"""A model as an attacker uses it, and as it was before when he is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mlexpert.errors import InputError

Model = Callable[[Tensor], Tensor]
"""Maps inputs (B, ...) to logits (B, K)."""


@contextmanager
def attacked(model: Model) -> Iterator[None]:
    """Put a model in eval mode, with parameters that take no gradient, for as long as it lasts.

    Afterwards all is as it was, also after an exception: the mode of every module, what takes a
    gradient and the gradients there were, buffers, and torch's random numbers. Convolutions lie
    channels-last meanwhile, where a CPU computes them faster, and so do gradients that come back
    through `nn.Flatten`: an activation and its gradient in two layouts are slow to multiply.
    """
    if not isinstance(model, nn.Module):
        with torch.random.fork_rng():
            yield
        return
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(one, one.requires_grad, one.grad) for one in model.parameters()]
    laid_out, hooks = [], []
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gpus = sorted({one.device.index for one in model.parameters() if one.is_cuda})
    try:
        with torch.random.fork_rng(devices=gpus):
            model.eval()
            for one, _, _ in parameters:
                one.requires_grad_(False)
                if one.ndim == 4 and one.device.type == "cpu" and type(one.data) is Tensor:
                    laid_out.append((one, one.data))
                    # Not `contiguous`, to which kernels (C, 1, H, W) are so as they lie.
                    one.data = one.data.to(memory_format=torch.channels_last)
            if laid_out:
                flat = [one for one, _ in modes if isinstance(one, nn.Flatten)]
                hooks += [one.register_forward_pre_hook(_lay_out_gradient) for one in flat]
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
        for one, data in laid_out:
            one.data = data
        for one, takes, grad in parameters:
            one.requires_grad_(takes)
            one.grad = grad
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _lay_out_gradient(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the input of a module, whose gradient will lie channels-last where it does itself."""
    last = torch.channels_last
    if not inputs:  # it was called by keyword
        return inputs
    (image,) = inputs
    if not image.requires_grad or image.ndim != 4 or not image.is_contiguous(memory_format=last):
        return inputs
    image = image.view_as(image)
    image.register_hook(lambda gradient: gradient.contiguous(memory_format=last))
    return (image,)


def input_gradient(
    model: Model, inputs: Tensor, objective: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of an objective to the inputs, and what was computed on the way.

    Args:
        model: Maps inputs to logits (B, K).
        inputs: (B, ...).
        objective: Maps logits in float32 or wider to numbers (B,).

    Returns:
        The gradient (B, ...) of their sum, the numbers (B,), and the logits (B, K).

    Raises:
        InputError: If the logits do not depend on the inputs in a way that can be differentiated.
    """
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        logits = in_full(model(inputs))
        values = objective(logits)
        try:
            (gradient,) = torch.autograd.grad(values.sum(), inputs)
        except RuntimeError as error:
            if "does not require grad" not in str(error) and "not have been used" not in str(error):
                raise
            raise InputError(
                "The model has no gradient with respect to its inputs: it detaches them, rounds "
                "them or runs without autograd. Attack it by its answers alone: attack='square'."
            ) from error
    return gradient, values.detach(), logits.detach()


def in_full(logits: Tensor) -> Tensor:
    """Return logits in float32, or wider: differences of halves vanish."""
    return logits if logits.dtype == torch.float64 else logits.float()


@torch.no_grad()
def logits_at(model: Model, inputs: Tensor) -> Tensor:
    """Return the logits (B, K) in float32 or wider, without a gradient."""
    return in_full(model(inputs))
