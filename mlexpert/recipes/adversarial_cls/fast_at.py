"""Fast adversarial training: one gradient a step, from noise that is wider than the ball.

Training by single steps may end in catastrophic overfitting: the network learns to break that step
and nothing else. Noise of twice epsilon that is not cut back to the ball keeps it away; where that
would hide the images, steps of random length do, as then the network has to be right all along the
way. PGD on validation rows watches for it after every epoch, and ends training at the best.

Papers: Wong et al. 2020, arXiv:2001.03994, algorithm 3; de Jorge et al. 2022, arXiv:2202.01181,
    equation 6 (N-FGSM); Kim et al. 2021, arXiv:2010.01799, section 4 (points along the step).
Differs from the papers: epsilon and learning rate rise at first; weights are a moving average, of
the epoch with the best robust accuracy on validation; of the points along a step one is drawn,
where Kim et al. ask the network about several and take the nearest that it gets wrong.
Results: benchmarks/adversarial/results.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import nn

from mlexpert.blocks.attacks.attacked import attacked, input_gradient
from mlexpert.blocks.attacks.margins import cross_entropy as raised
from mlexpert.blocks.losses.cross_entropy import cross_entropy
from mlexpert.data.schema import Schema
from mlexpert.families.adversarial import AdversarialRecipe
from mlexpert.recipe import Parts
from mlexpert.training.method import Batch, Loss, summed
from mlexpert.training.methods.adversarial import AdversarialMethod, Attacking, whole_where_fp16

WIDE = 0.2
"""Of an epsilon in pixel units: twice as much noise covers most of the range."""


@dataclass(frozen=True, kw_only=True)
class FastAt(AdversarialRecipe):
    """Cross-entropy after one step from wide noise."""

    name: ClassVar[str] = "adversarial-cls/fast-at"
    version: ClassVar[int] = 1
    average: ClassVar[float] = 0.995

    steps: int = 1
    """Steps of an attack in training: one, which is the idea."""
    step_size: float | None = None
    """Length of the step as a share of epsilon; alpha in the paper. None: 1, and 2 where epsilon is
    above 0.2, of which the ball cuts off what is too much."""
    shortest: float | None = None
    """Each row's step has a length between this share of epsilon and `step_size`. None: 0 where
    epsilon is above 0.2, and `step_size` elsewhere: all steps are of that length."""
    noise: float | None = None
    """Half-width of the noise as a share of epsilon; k in the paper. Up to 1 the step is cut back
    to the ball: noise=1, step_size=1.25 and shortest=1.25 is the method of Wong et al. None: 2 as
    in the paper; 1 where epsilon is above 0.2, as noise over most of the pixel range leaves nothing
    to learn."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.norm == "linf", "norm", "'linf'")
        self.require(self.steps == 1, "steps", "1; take adversarial-cls/pgd-at for more")
        for name in ("noise", "shortest"):
            value = getattr(self, name)
            self.require(value is None or 0 <= value < math.inf, name, "0 or more")

    def settle(self, schema: Schema) -> Self:
        """Fill in the numbers that depend on the data; errors as in the family."""
        rate = 4e-3 if self.lr is None and self.is_strided(schema) else self.lr
        epochs = 6 if self.epochs is None and self.is_strided(schema) else self.epochs
        settled = super(FastAt, replace(self, lr=rate, epochs=epochs)).settle(schema)
        assert settled.epsilon is not None, "the family settles it"
        is_wide = schema.kind == "image" and settled.epsilon > WIDE
        step_size = self.step_size if self.step_size is not None else 2.0 if is_wide else 1.0
        own: dict[str, Any] = {
            "noise": 1.0 if is_wide else 2.0,
            "shortest": 0.0 if is_wide else step_size,
        }
        own = {name: value for name, value in own.items() if getattr(self, name) is None}
        settled = replace(settled, step_size=step_size, **own)
        least, most = settled.shortest, settled.step_size
        assert least is not None and most is not None, "they are settled"
        settled.require(least <= most, "shortest", f"at most step_size={most:g}")
        return settled

    def build(self, schema: Schema) -> Parts:
        """Assemble network and attack."""
        assert self.noise is not None and self.shortest is not None, "fit settles a recipe first"
        method = FastTraining(self.attacking(schema), noise=self.noise, shortest=self.shortest)
        return self.parts(schema, self.network(schema), method)


class FastTraining(AdversarialMethod):
    """Cross-entropy after a single signed step from noise.

    Args:
        how: How it attacks.
        noise: Half-width of the noise as a share of epsilon.
        shortest: Length of the shortest step as a share of epsilon; the longest is `how`'s.
    """

    def __init__(self, how: Attacking, *, noise: float, shortest: float) -> None:
        super().__init__(how)
        self.noise, self.shortest = noise, shortest

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Attack a micro-batch by one step, and return the sum of its rows' losses."""
        inputs, threat = batch.inputs, self.threat().to(batch.inputs)
        start = threat.scaled(self.noise).random_start(inputs, torch.rand_like(inputs))
        with attacked(model), whole_where_fp16(inputs):
            gradient, _, _ = input_gradient(
                model, start, lambda logits: raised(logits, batch.targets)
            )
        # Beyond wide noise the ball is not looked at: cutting back is what makes steps weak.
        reach = threat if self.noise <= 1 else threat.scaled(self.noise + self.how.step_size)
        lengths = torch.empty(len(inputs), device=inputs.device)
        lengths.uniform_(self.shortest, self.how.step_size)
        step = threat.ascend(gradient, lengths * threat.length)
        moved = reach.project(start + step, inputs)
        return summed(cross_entropy(model(moved), batch.targets), batch)


if __name__ == "__main__":
    from mlexpert.cli import run_file

    run_file(FastAt)
