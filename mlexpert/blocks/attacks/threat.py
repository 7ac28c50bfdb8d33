"""What an attacker may do: move each input within a ball around it, inside the box of inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlexpert.errors import InputError

Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
SPARSITY = 0.01
"""Share of the coordinates that one L1 step moves; of SLIDE, Tramer and Boneh 2019,
arXiv:1904.13000, section 3."""
SHRINK = 1 - 1e-6
"""L2 and L1 balls are that much smaller: what rounding adds to a sum stays inside."""
SMALLEST = 1e-12


@dataclass(frozen=True)
class Threat:
    """A ball around each input, and the box that inputs lie in.

    Attributes:
        norm: Of the ball: "linf", "l2" or "l1".
        epsilon: Its radius, in the unit of the inputs: of images the pixel range is 0 to 1, and
            8/255 is 0.0314. With "linf" also a budget for each coordinate, broadcast against one
            input: of tables (D,), 0 for a column that stays as it is.
        low: Smallest value of an input, or (D,) of each coordinate.
        high: Largest value.

    Raises:
        InputError: If the norm is unknown, or the radius negative or not finite.
    """

    norm: Norm
    epsilon: float | Tensor
    low: float | Tensor = 0.0
    high: float | Tensor = 1.0

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise InputError(f"norm={self.norm!r}; there are {', '.join(map(repr, NORMS))}.")
        radius = torch.as_tensor(self.epsilon, dtype=torch.float64)
        if radius.numel() > 1 and self.norm != "linf":
            raise InputError(f"A budget for each coordinate needs norm='linf', not {self.norm!r}.")
        if not bool(torch.isfinite(radius).all()) or bool((radius < 0).any()):
            raise InputError(f"epsilon={self.epsilon!r}; it has to be a number of 0 or more.")

    def bounds(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smallest and largest values (B, ...) of the inputs under attack.

        For "linf" that is ball and box: in exact arithmetic no bound is further than `epsilon` from
        its input, where x + epsilon would round to more. For other norms it is the box alone.
        """
        low, high = self._like(self.low, inputs), self._like(self.high, inputs)
        if self.norm != "linf":
            return low.expand_as(inputs), high.expand_as(inputs)
        epsilon = torch.as_tensor(self.epsilon, dtype=torch.float64, device=inputs.device)
        least, most = inputs.double() - epsilon, inputs.double() + epsilon
        lower, upper = least.to(inputs.dtype), most.to(inputs.dtype)
        lower = torch.where(lower < least, torch.nextafter(lower, inputs), lower)
        upper = torch.where(upper > most, torch.nextafter(upper, inputs), upper)
        return torch.maximum(lower, low), torch.minimum(upper, high)

    def project(
        self, moved: Tensor, inputs: Tensor, bounds: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return moved inputs (B, ...) inside ball and box.

        With "linf" and "l2" the result is never further than `epsilon` from the input; sums are
        taken to about 1e-6 of it. Of "l2" and "l1" the ball comes first and the box after it, which
        moves towards the input: valid, if not the nearest point of both.

        Args:
            moved: (B, ...) inputs under attack.
            inputs: (B, ...) the inputs themselves, inside the box.
            bounds: Of `bounds(inputs)`, where they are at hand.
        """
        lower, upper = self.bounds(inputs) if bounds is None else bounds
        if self.norm == "linf":
            return torch.clamp(moved, lower, upper)
        change = (moved - inputs).flatten(1)
        radius = float(self.epsilon) * SHRINK
        if self.norm == "l2":
            length = change.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
            change = change * (radius / length).clamp_max(1.0)
        else:
            change = onto_l1_ball(change, radius)
        return torch.clamp(inputs + change.view_as(inputs), lower, upper)

    def step(
        self,
        at: Tensor,
        gradient: Tensor,
        size: float | Tensor,
        inputs: Tensor,
        bounds: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Return the inputs under attack after a step of steepest ascent, inside ball and box.

        Args:
            at: (B, ...) inputs under attack.
            gradient: (B, ...) of the objective there.
            size: Of the step, as in `ascend`.
            inputs: (B, ...) the inputs themselves.
            bounds: Of `bounds(inputs)`.
        """
        moved = self.ascend(gradient, size).add_(at)
        if self.norm != "linf":
            return self.project(moved, inputs, bounds)
        return torch.clamp(moved, *bounds, out=moved)  # of many steps, memory is what costs time

    def ascend(self, gradient: Tensor, size: float | Tensor) -> Tensor:
        """Return the step (B, ...) of length `size` that raises an objective the most.

        Args:
            gradient: (B, ...) of the objective.
            size: Length in this norm, or (B,); of "linf" with budgets, a share of each budget.
        """
        lengths = size if isinstance(size, float | int) else per_row(size, gradient)
        if self.norm == "linf":
            if isinstance(self.epsilon, Tensor) and self.epsilon.numel() > 1:
                lengths = lengths * self._like(self.epsilon, gradient)
                # A column whose scale is flat, or a value that is missing, has no slope.
                gradient = gradient.nan_to_num(0.0)
            return gradient.sign().mul_(lengths)
        flat = gradient.flatten(1)
        if self.norm == "l2":
            direction = flat / flat.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
        else:
            moved = max(1, round(SPARSITY * flat.shape[1]))
            largest = flat.abs().topk(moved, dim=1).indices
            signs = flat.gather(1, largest).sign() / moved
            direction = torch.zeros_like(flat).scatter_(1, largest, signs)
        return direction.view_as(gradient) * lengths

    def distance(self, moved: Tensor, inputs: Tensor) -> Tensor:
        """Return how far (B,) each input was moved, in float64."""
        change = (moved.double() - inputs.double()).flatten(1)
        order = {"linf": math.inf, "l2": 2, "l1": 1}[self.norm]
        return torch.linalg.vector_norm(change, order, dim=1)

    def random_start(self, inputs: Tensor, noise: Tensor) -> Tensor:
        """Return inputs moved to a random point of the ball, and back into the box.

        Args:
            inputs: (B, ...).
            noise: (B, ...) uniform in [0, 1).
        """
        centred = noise * 2 - 1
        if self.norm == "linf":
            return self.project(inputs + centred * self._like(self.epsilon, inputs), inputs)
        flat = centred.flatten(1)
        if self.norm == "l2":  # a normal vector has a uniform direction
            direction = torch.erfinv(flat.clamp(-1 + 1e-6, 1 - 1e-6))
            direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
        else:  # as has a vector of exponentials with random signs in the L1 ball
            direction = flat.sign() * -flat.abs().clamp_min(SMALLEST).log()
            direction = direction / direction.abs().sum(dim=1, keepdim=True).clamp_min(SMALLEST)
        share = noise.flatten(1).double().sum(dim=1, keepdim=True).frac().to(flat.dtype)
        radius = float(self.epsilon) * share ** (1 / flat.shape[1])
        return self.project(inputs + (direction * radius).view_as(inputs), inputs)

    @property
    def length(self) -> float:
        """The radius, or 1 where coordinates have budgets: what a share of epsilon multiplies."""
        has_budgets = isinstance(self.epsilon, Tensor) and self.epsilon.numel() > 1
        return 1.0 if has_budgets else float(self.epsilon)

    def scaled(self, factor: float) -> Threat:
        """Return the threat with a radius that is `factor` times this one's."""
        return Threat(self.norm, self.epsilon * factor, self.low, self.high)

    def to(self, inputs: Tensor) -> Threat:
        """Return the threat with its tensors on the device of the inputs."""
        values = (self.epsilon, self.low, self.high)
        moved = [one.to(inputs.device) if isinstance(one, Tensor) else one for one in values]
        return Threat(self.norm, *moved)

    def _like(self, value: float | Tensor, inputs: Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device)


def per_row(values: Tensor, inputs: Tensor) -> Tensor:
    """Return numbers (B,) in the shape (B, 1, ...) that multiplies inputs (B, ...)."""
    return values.view(-1, *[1] * (inputs.ndim - 1))


def onto_l1_ball(change: Tensor, radius: float) -> Tensor:
    """Return the nearest points (B, D) of the L1 ball, by sorting (Duchi et al. 2008, figure 1)."""
    size = change.abs()
    ordered = size.sort(dim=1, descending=True).values
    excess = ordered.cumsum(dim=1) - radius
    ranks = torch.arange(1, change.shape[1] + 1, device=change.device, dtype=change.dtype)
    count = (ordered * ranks > excess).sum(dim=1, keepdim=True).clamp_min(1)
    threshold = excess.gather(1, count - 1) / count
    return torch.where(
        size.sum(dim=1, keepdim=True) > radius,
        change.sign() * (size - threshold).clamp_min(0.0),
        change,
    )
