"""How often a model gives each class to an input under Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlexpert.blocks.attacks.attacked import Model, attacked, in_full
from mlexpert.blocks.certificates.gaussian import gaussian
from mlexpert.errors import InputError

MOST_DRAWS = 2**24
"""Of one input: the noise is keyed by input and draw in one number."""
STREAM = 1902_02918
"""Of the noise, so that it shares nothing with that of an attack of the same seed."""


@dataclass(frozen=True)
class Noise:
    """What is added to inputs: of standard deviation `sigma` in their unit, fixed by `seed`."""

    sigma: float
    seed: int

    def on(self, inputs: Tensor, ids: Tensor, draws: Tensor) -> Tensor:
        """Return noisy inputs (B, ...): of each row the draw (B,) of its own."""
        keys = ids.long() * MOST_DRAWS + draws
        noise = gaussian(keys, inputs.shape[1:], seed=self.seed, stream=STREAM)
        return inputs + self.sigma * noise.to(inputs.dtype)


def noisy_votes(
    model: Model, inputs: Tensor, ids: Tensor, noise: Noise, draws: range, rows: int
) -> Tensor:
    """Return how often (B, K) each class is given to an input, int64.

    Args:
        model: A module is looked at in eval mode and put back as it was.
        inputs: (B, ...) floats.
        ids: (B,) int64 that key the noise.
        noise: What is added to the inputs.
        draws: Which draws of each input, below `MOST_DRAWS`.
        rows: Noisy inputs that are looked at together.

    Raises:
        InputError: If the model's logits are not finite.
    """
    with attacked(model), torch.no_grad():
        votes, are_numbers = [], []
        pairs = torch.arange(len(inputs) * len(draws), device=inputs.device)
        for piece in pairs.split(rows):
            row, draw = piece // len(draws), piece % len(draws) + draws.start
            logits = in_full(model(noise.on(inputs[row], ids[row], draw)))
            votes.append(logits.argmax(dim=1))
            are_numbers.append(logits.isfinite().all())
    if not bool(torch.stack(are_numbers).all()):
        raise InputError("The model's logits are not finite under noise; nothing can be certified.")
    places = torch.cat(votes) + pairs // len(draws) * logits.shape[1]
    counts = places.bincount(minlength=len(inputs) * logits.shape[1])
    return counts.view(len(inputs), logits.shape[1])
