"""Models of the folds of one data set, asked together: each row is answered by their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlexpert.blocks.decisions.decision import DecisionRule
from mlexpert.data.examples import Examples, Objective
from mlexpert.data.schema import Schema
from mlexpert.fitted.held import Held
from mlexpert.fitted.importance import mean_importance, permutation_importance
from mlexpert.fitted.model import Fitted
from mlexpert.recipe import Recipe
from mlexpert.storage.model_folder import SavedModel

SMALLEST = 1e-7
"""Probability that stands for 0 where a logarithm is taken."""


class Ensemble(Fitted):
    """What `recipe.fit(ds, folds=5)` returns: a fitted model that asks its members.

    Its probabilities are the mean of the members' calibrated ones, for regression of their numbers.
    Its decision rule is one more of the recipe's, fitted on what each row was told by the member
    that did not train on it.

    Attributes:
        members: The models of the folds.
    """

    members: tuple[Fitted, ...]

    def __init__(
        self,
        recipe: Recipe,
        schema: Schema,
        members: Sequence[Fitted],
        decide: DecisionRule,
        *,
        facts: dict[str, Any],
        run_dir: Path | None = None,
        held: Held | None = None,
    ) -> None:
        parts = replace(members[0].parts, decide=decide)
        super().__init__(recipe, schema, parts, facts=facts, run_dir=run_dir, held=held)
        self.members = tuple(members)

    @classmethod
    def of_saved(
        cls,
        saved: SavedModel,
        *,
        facts: dict[str, Any],
        run_dir: Path | None = None,
        held: Held | None = None,
    ) -> Ensemble:
        """Return the ensemble that was saved; arguments as in `Fitted`."""
        members = [
            Fitted(member.recipe, member.schema, member.parts, facts=member.facts)
            for member in saved.members
        ]
        return cls(
            saved.recipe,
            saved.schema,
            members,
            saved.parts.decide,
            facts=facts,
            run_dir=run_dir,
            held=held,
        )

    def importance(
        self, ds: Any = None, *, repeats: int = 5, metric: str | None = None, seed: int = 0
    ) -> list[dict[str, Any]]:
        """As of a single model; without `ds`, of each member on its own validation rows."""
        if ds is not None:
            return super().importance(ds, repeats=repeats, metric=metric, seed=seed)
        held = self._all_held(self._run_dir("importance"))
        return mean_importance(
            [
                permutation_importance(
                    member._predictions,
                    rows,
                    member.schema,
                    repeats=repeats,
                    metric=metric,
                    seed=seed,
                )
                for member, rows in zip(self.members, held.validation, strict=True)
            ]
        )

    def _logits(self, x: Any) -> Tensor:
        if not isinstance(x, Examples):
            x = self._read(x)
        said = [member.parts.decide.probabilities(member._logits(x)) for member in self.members]
        return logits_saying(torch.stack(said).mean(dim=0), self.parts.decide, self.schema)

    def _saved(self) -> SavedModel:
        members = tuple(member._saved() for member in self.members)
        return replace(super()._saved(), members=members)


def logits_saying(said: Tensor, decide: DecisionRule, schema: Schema) -> Tensor:
    """Return logits of which a rule, at temperature 1, says just this.

    Logarithms of probabilities alone would not do: a rule may take from the logits what the classes
    weighed in the loss, and these probabilities are without it. What a rule makes of zeros is what
    it takes.

    Args:
        said: (N, K) calibrated probabilities, or for regression (N,) numbers in the user's unit.
        decide: The rule.
        schema: Of which the objective counts.

    Returns:
        (N, K), or for regression (N, 1) standardised numbers.
    """
    decide = decide.unfitted()
    at_zero = decide.probabilities(torch.zeros(1, schema.num_outputs))
    if schema.objective == "regression":
        unit = decide.probabilities(torch.ones(1, 1)) - at_zero
        return ((said - at_zero) / unit).unsqueeze(1)
    return _log(said, schema.objective) - _log(at_zero, schema.objective)


def _log(probabilities: Tensor, objective: Objective) -> Tensor:
    if objective == "multilabel":
        return torch.logit(probabilities, eps=SMALLEST)
    return probabilities.clamp_min(SMALLEST).log()
