"""The health of gradients: how far each layer moves, and the layer where a NaN began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class GradientHealth:
    """Measures each layer's gradient and step; meant for a few sampled steps, as one an epoch.

    A layer is a module that owns parameters itself; what has no gradient is left out. Between
    `before` and `after` a second copy of the weights is held. No measurement waits for the device
    but the one at the end of `after`.

    Args:
        model: Its layers are measured.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers: dict[str, list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():  # a shared one is named once
            layer = name.rpartition(".")[0] or type(model).__name__
            self.layers.setdefault(layer, []).append(parameter)
        self._gradients: dict[str, Tensor] = {}
        self._weights: dict[str, list[tuple[nn.Parameter, Tensor]]] = {}

    @torch.no_grad()
    def before(self) -> None:
        """Look at complete and unscaled gradients, before they are clipped."""
        self._gradients, self._weights = {}, {}  # a step that was skipped had no `after`
        for layer, parameters in self.layers.items():
            moving = [parameter for parameter in parameters if parameter.grad is not None]
            if moving:
                self._gradients[layer] = _norm(
                    [part.grad for part in moving if part.grad is not None]
                )
                self._weights[layer] = [(parameter, parameter.clone()) for parameter in moving]

    @torch.no_grad()
    def after(self) -> list[dict[str, Any]]:
        """Return one row a layer, after the optimiser moved; none without a `before`.

        Returns:
            `layer`; `gradient_norm`, of the loss that `before` saw; `weight_norm`, before the step;
            `update_ratio`, the norm of the step over that of the weights: about 1e-3 is healthy, 1
            replaces them, and it is None where they were all zero. All norms are Euclidean.
        """
        gradients, weights = self._gradients, self._weights
        self._gradients, self._weights = {}, {}
        if not gradients:
            return []
        old = [_norm([was for _, was in pairs]) for pairs in weights.values()]
        moved = [_norm([now - was for now, was in pairs]) for pairs in weights.values()]
        numbers = torch.stack([*gradients.values(), *old, *moved]).view(3, -1).T.tolist()
        return [
            {
                "layer": layer,
                "gradient_norm": gradient_norm,
                "weight_norm": weight_norm,
                "update_ratio": update_norm / weight_norm if weight_norm else None,
            }
            for layer, (gradient_norm, weight_norm, update_norm) in zip(
                gradients, numbers, strict=True
            )
        ]


def _norm(tensors: list[Tensor]) -> Tensor:
    """Return the Euclidean norm of all of them together, in fp32: it may be too large for fp16."""
    return torch.stack([tensor.float().norm() for tensor in tensors]).norm()


def where_it_began(model: nn.Module, run: Callable[[], None]) -> str:
    """Repeat a step whose loss was not finite, and say where the first such value was made.

    What overflows on its way and becomes finite again, as under a tanh or a mask, is passed over.

    Args:
        model: The plain model, with its weights, buffers and the random state as before the step.
        run: Repeats forward and backward of the batch. Gradients add up and buffers move as ever.

    Returns:
        A clause for people, such as "the output of blocks.2.norm (LayerNorm) is the first that is
        not finite".
    """
    watch = _Watch(model)
    # A compiled forward would run past the hooks.
    with torch.compiler.set_stance("force_eager"), watch:
        run()
    origin = watch.in_forward() or watch.in_backward()
    return origin or "the loss itself: every layer's output is finite"


@dataclass(eq=False)
class _Call:
    """One call of a module."""

    module: nn.Module
    inside: _Call | None
    """The call during which it was made."""
    inputs_broken: bool
    first: int
    """Calls that had ended when it began: those that end between are made by it."""
    output_broken: bool = False


class _Watch:
    """While entered, follows all values through a model's modules, and all gradients back."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.names = {module: name for name, module in model.named_modules()}
        self.broken_parameters = [
            name for name, parameter in model.named_parameters() if not _is_finite(parameter)
        ]
        self.begun: list[_Call] = []
        self.ended: list[_Call] = []
        self._open: list[_Call] = []
        # Gradients that are not finite, in the order of backward: with respect to the output of a
        # call, the input of a call, or a parameter by its name.
        self.outputs: list[_Call] = []
        self.others: list[_Call | str] = []
        self._hooks = ExitStack()

    def __enter__(self) -> _Watch:
        with ExitStack() as hooks:
            for module in self.names:
                begin = module.register_forward_pre_hook(self._begin, with_kwargs=True)
                hooks.callback(begin.remove)
                end = module.register_forward_hook(self._end, always_call=True)
                hooks.callback(end.remove)
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    hooks.callback(_watch_gradient(parameter, self.others, name))
            self._hooks = hooks.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def in_forward(self) -> str | None:
        """Say where the values of forward went wrong, if they did."""
        call = self._first_broken()
        if call is not None and not call.inputs_broken and not self._owns_broken(call.module):
            return f"the output of {self._called(call.module)} is the first that is not finite"
        while call is not None and call.inside is not None and call.inside.inputs_broken:
            call = call.inside
        if call is not None and call.inputs_broken and call.inside is None:
            return self._inputs_of(call)
        if self.broken_parameters:
            # Backward carries a NaN from where it began to all earlier layers and to no later one.
            name = max(self.broken_parameters, key=self._last_use)
            owner, _, own_name = name.rpartition(".")
            called = self._called(self.model.get_submodule(owner))
            return f"the {own_name} of {called} is not finite already"
        if call is not None and call.inside is not None:
            return (
                f"what reaches {self._called(call.module)} is the first that is not finite: "
                f"{self._called(call.inside.module)} makes it outside of its layers"
            )
        return None

    def in_backward(self) -> str | None:
        """Say where the gradients went wrong, if they did behind the loss."""
        if self.outputs and self._reached_first().inside is None:
            return None
        reached = {call.module for call in self.outputs}
        for origin in self.others:
            if isinstance(origin, str):
                if self.model.get_submodule(origin.rpartition(".")[0]) not in reached:
                    return f"the gradient of {origin} is the first that is not finite"
            elif origin not in self.outputs:
                called = self._called(origin.module)
                return f"the gradient that {called} passes back is the first that is not finite"
        if self.outputs:
            called = self._called(self.outputs[0].module)
            return f"the gradient of the output of {called} is the first that is not finite"
        return None

    def _begin(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        inputs = list(_tensors((args, kwargs)))
        # -inf alone is how masks are written.
        broken = any(not _is_finite(tensor.detach().clamp(min=0.0)) for tensor in inputs)
        inside = self._open[-1] if self._open else None
        call = _Call(module, inside, broken, first=len(self.ended))
        self._open.append(call)
        self.begun.append(call)
        if next(module.children(), None) is None:
            for tensor in inputs:
                if tensor.requires_grad:
                    self._hooks.callback(_watch_gradient(tensor, self.others, call))

    def _end(self, module: nn.Module, args: tuple, output: Any) -> None:
        call = self._open.pop()
        # Recomputing a checkpointed block breaks off, with an exception and no output, where all
        # that backward needs is there again.
        if output is not None:
            self.ended.append(call)
        for tensor in _tensors(output):
            call.output_broken |= not _is_finite(tensor)
            if tensor.requires_grad:
                self._hooks.callback(_watch_gradient(tensor, self.outputs, call))

    def _first_broken(self) -> _Call | None:
        """Return the first call with a broken output that no later one made good."""
        suspect: int | None = None
        for at, call in enumerate(self.ended):
            if call.output_broken:
                suspect = at if suspect is None else suspect
            elif suspect is not None and (call.inputs_broken or suspect >= call.first):
                suspect = None
        return None if suspect is None else self.ended[suspect]

    def _reached_first(self) -> _Call:
        """Return the call that backward reached first with a gradient that is not finite.

        Calls around one another may share their output: then it is the outermost of these.
        """
        first = self.outputs[0]
        for outer in self.outputs[1:]:
            if outer is not first.inside:
                break
            first = outer
        return first

    def _owns_broken(self, module: nn.Module) -> bool:
        return any(not _is_finite(parameter) for parameter in module.parameters())

    def _inputs_of(self, call: _Call) -> str:
        """Describe inputs from outside: the batch, unless other calls came before this one."""
        if call is self.begun[0]:
            return "the inputs of the batch are not finite"
        alike = [
            other for other in self.begun if (other.module, other.inside) == (call.module, None)
        ]
        given = f"what {self._called(call.module)} is given in call {1 + alike.index(call)}"
        return f"{given} is the first that is not finite"

    def _last_use(self, parameter: str) -> int:
        """Return when the owner of a parameter was last called, or what the owner is part of."""
        last = {self.names[call.module]: at for at, call in enumerate(self.begun)}
        owner = parameter.rpartition(".")[0]
        while owner and owner not in last:
            owner = owner.rpartition(".")[0]
        return last.get(owner, -1)

    def _called(self, module: nn.Module) -> str:
        name, kind = self.names[module], type(module).__name__
        return f"{name} ({kind})" if name else kind


def _watch_gradient(tensor: Tensor, broken: list, label: _Call | str) -> Callable[[], None]:
    """Append the label once a gradient of the tensor is not finite; return how to stop that."""

    def look(gradient: Tensor) -> None:
        if not _is_finite(gradient):
            broken.append(label)

    return tensor.register_hook(look).remove


def _is_finite(tensor: Tensor) -> bool:
    # Detached, or checkpointing would count what it saves among what a block has to recompute.
    return bool(tensor.detach().isfinite().all())


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the floating tensors in nested arguments or outputs."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
