"""What every classifier shares: weights of the classes, and the parts that fit the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.decisions.decision import DecisionRule
from mlexpert.blocks.decisions.identity import Identity
from mlexpert.blocks.decisions.label_thresholds import LabelThresholds
from mlexpert.blocks.losses.binary_cross_entropy import binary_cross_entropy
from mlexpert.blocks.losses.cross_entropy import ClassWeighted, cross_entropy
from mlexpert.blocks.losses.squared_error import squared_error
from mlexpert.blocks.scores import classification_scores, multilabel_scores, regression_scores
from mlexpert.data.nearest import did_you_mean, listing
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.recipe import Recipe


@dataclass(frozen=True)
class ObjectiveParts:
    """The parts of a recipe that follow from what is predicted; see `mlexpert.recipe.Parts`.

    Attributes:
        loss: Maps what the model returns and the targets of a batch to losses (B,); for
            `Supervised`.
        decide: Turns logits into probabilities and decisions.
        evaluate: Maps logits, targets and weights to the scores of the learning curves.
        monitor: The score, lower being better, that chooses the best epoch.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    decide: DecisionRule
    evaluate: Callable[[Tensor, Tensor, Tensor | None], dict[str, float]]
    monitor: str


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(Recipe):
    """A recipe for rows of one class, or of any of several labels."""

    takes_labels: ClassVar[bool] = True

    class_weight: Literal["balanced"] | dict | None = None
    """Weight of each class in the loss and in decisions, by label; probabilities stay those of the
    data. balanced: inverse to the training rows of the class. Only their ratios matter."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes; epsilon in the paper (Szegedy et al.
    2016, arXiv:1512.00567)."""

    def __post_init__(self) -> None:
        if isinstance(self.class_weight, dict):
            # As they come back from a run's record: keys in JSON are text, numbers not numpy's.
            by_name = {
                str(label): weight.item() if isinstance(weight, np.generic) else weight
                for label, weight in self.class_weight.items()
            }
            object.__setattr__(self, "class_weight", by_name)
        super().__post_init__()

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(0 <= self.label_smoothing < 1, "label_smoothing", "0 or more and below 1")
        weights = self.class_weight.values() if isinstance(self.class_weight, dict) else ()
        for weight in weights:
            is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
            allowed = "a finite number above 0 for each class"
            self.require(is_number and 0 < weight < math.inf, "class_weight", allowed)

    def objective_parts(self, schema: Schema) -> ObjectiveParts:
        """Return loss, decision and scores for targets of one class or of several labels.

        Raises:
            InputError: If the class weights are not those of the classes, or are given for labels.
        """
        if schema.objective == "multilabel":
            if self.class_weight is not None:
                raise InputError(
                    f"{self.name}: class_weight={self.class_weight!r}; rows here have several "
                    "labels, which have no classes to weigh. Leave it at None."
                )
            labels = LabelThresholds(schema.num_outputs)
            return ObjectiveParts(
                loss=partial(binary_cross_entropy, label_smoothing=self.label_smoothing),
                decide=labels,
                evaluate=partial(multilabel_scores, decide=labels.decide),
                monitor="calibrated_log_loss",
            )
        weight = self._class_weight(schema)
        classes = Argmax(schema.class_counts, class_weight=weight)
        return ObjectiveParts(
            loss=partial(cross_entropy, label_smoothing=self.label_smoothing)
            if weight is None
            else ClassWeighted(weight, label_smoothing=self.label_smoothing),
            decide=classes,
            evaluate=partial(classification_scores, decide=classes.decide, class_weight=weight),
            monitor="calibrated_log_loss",
        )

    def _class_weight(self, schema: Schema) -> Tensor | None:
        """Return the weights (K,), whose mean over the training rows is 1, or None."""
        if self.class_weight is None:
            return None
        counts = torch.tensor(schema.prior_counts, dtype=torch.float64)
        if self.class_weight == "balanced":
            weight = 1 / counts
        else:
            labels = [str(label) for label in schema.classes]
            for named in self.class_weight:
                if named not in labels:
                    raise InputError(
                        f"{self.name}: class_weight names {named!r}, which is no class of these "
                        f"rows: {listing(labels)}.{did_you_mean(named, labels)}"
                    )
            missing = [label for label in labels if label not in self.class_weight]
            if missing:
                raise InputError(
                    f"{self.name}: class_weight says nothing of {listing(missing)}; give every "
                    "class a weight, 1 for one that is to stay as it is."
                )
            given = [self.class_weight[label] for label in labels]
            weight = torch.tensor(given, dtype=torch.float64)
        return (weight * (counts.sum() / (weight @ counts))).float()


def regression_parts(schema: Schema) -> ObjectiveParts:
    """Return loss, decision and scores for numbers, which training standardises."""
    assert schema.values is not None, "a schema for regression has the moments of its targets"
    return ObjectiveParts(squared_error, Identity(schema.values), regression_scores, "rmse")
