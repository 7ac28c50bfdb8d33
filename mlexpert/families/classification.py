"""What classification recipes share: a network for each kind of input, and the fields behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from mlexpert.blocks.decisions.cost_sensitive import CostSensitive
from mlexpert.blocks.decisions.decision import DecisionRule
from mlexpert.blocks.decisions.macro_f1 import MacroF1
from mlexpert.blocks.decisions.prior_adjusted import PriorAdjusted
from mlexpert.blocks.decisions.rebalanced import Rebalanced
from mlexpert.blocks.decisions.threshold import Threshold
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import Schedule, constant, warmup_cosine
from mlexpert.blocks.scores import classification_scores
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.families.network import NetworkRecipe
from mlexpert.recipe import BY_KIND, Network, Parts
from mlexpert.training.method import Method


@dataclass(frozen=True)
class Defaults:
    """What a recipe settles on where its user said nothing."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    patience: int
    clip_norm: float
    ema: float
    shift: int


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe(NetworkRecipe):
    """A recipe for image, text or tabular rows with one label each."""

    others: ClassVar = {**BY_KIND, **dict.fromkeys(NetworkRecipe.kinds, "imbalanced-cls")}

    warmup: float = 0.1
    """Fraction of training in which the learning rate rises; not for tables, whose rate is constant
    until patience ends."""
    layer_decay: float = 1.0
    """Factor on the learning rate from one block of the network to the next below it: the head has
    lr, the embeddings the least. 0.65 to 0.9 for a pretrained network, 1 otherwise and for tables
    (Clark et al. 2020, arXiv:2003.10555)."""
    decide_for: Literal[
        "balanced_accuracy", "f1", "cost", "precision_at_recall", "recall_at_precision"
    ] = "balanced_accuracy"
    """What the decision is chosen by, on validation: f1 of the rarer of two classes, of more their
    mean; the smallest cost; the best precision while recall is at_least a number, or the other way
    round. balanced_accuracy is the method's own decision."""
    at_least: float | None = None
    """The recall, or precision, of the rarer class that must be held on validation; for
    precision_at_recall and recall_at_precision."""
    cost: list | None = None
    """What deciding costs, for decide_for="cost": a row for each true class with the cost of each
    decision, classes in sorted order, 0 on the diagonal. [[0, 1], [9, 0]]: a miss costs nine false
    alarms."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", _plain(self.cost))
        super().__post_init__()

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        share = self.at_least is None or 0 < self.at_least <= 1
        self.require(share, "at_least", "a share above 0 and at most 1")
        for name, needed in (
            ("at_least", self.decide_for in ("precision_at_recall", "recall_at_precision")),
            ("cost", self.decide_for == "cost"),
        ):
            given = getattr(self, name) is not None
            wanted = "given" if needed else "None"
            self.require(given == needed, name, f"{wanted} with decide_for={self.decide_for!r}")
        if self.cost is not None:
            _check_cost(self.name, self.cost)
        self.require(0 <= self.warmup < 1, "warmup", "a fraction of 0 or more and below 1")
        self.require(0 < self.layer_decay <= 1, "layer_decay", "above 0 and at most 1")

    def settle(self, schema: Schema) -> Self:
        """Fill in the numbers that depend on kind and amount of data.

        Raises:
            InputError: If a field for images is set for other rows.
        """
        self.refuse_fields_of_images(schema)
        defaults = _defaults(schema)
        own = {name: getattr(self, name) for name in Defaults.__dataclass_fields__}
        filled = {
            name: getattr(defaults, name) if value is None else value for name, value in own.items()
        }
        return replace(self, **filled)

    def optimizer(self, model: nn.Module, schema: Schema) -> Optimizer:
        """Return SGD with Nesterov momentum for images, and AdamW for text and tables.

        Raises:
            InputError: If `layer_decay` is below 1 and the network has no blocks.
        """
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        groups = layerwise_groups(
            model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=self.layer_decay
        )
        if schema.kind == "image":
            return SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)
        return AdamW(groups, lr=self.lr, fused=True)

    def schedule(self, schema: Schema) -> Schedule:
        """Return warm-up and cosine for images and text, and a constant rate for tables."""
        return constant() if schema.kind == "tabular" else warmup_cosine(self.warmup)

    def parts(
        self,
        schema: Schema,
        network: Network,
        method: Method,
        *,
        decide: DecisionRule | None = None,
        log_weight: Tensor | None = None,
    ) -> Parts:
        """Assemble network and method with the family's optimiser, schedule and decision.

        Args:
            schema: Of the training rows.
            network: The model and its input encoding.
            method: The loss, and what else the paper does during training.
            decide: The recipe's own rule, for decide_for="balanced_accuracy". None: the prior is
                taken off after training where it was trained on, and the method's own logits decide
                where it was not.
            log_weight: (K,) logarithms of the weights that the classes have in the model's softmax
                beside the natural prior: log w_k of class weights, -tau log pi_k of an adjusted
                loss, log(q_k / pi_k) of rows that are drawn with class shares q. None: none.
        """
        rule = self._rule(schema, decide, log_weight)
        return Parts(
            network=network,
            method=method,
            optimizer=self.optimizer(network.model, schema),
            schedule=self.schedule(schema),
            decide=rule,
            evaluate=partial(classification_scores, decide=rule.decide, log_weight=log_weight),
        )

    def _rule(
        self, schema: Schema, own: DecisionRule | None, log_weight: Tensor | None
    ) -> DecisionRule:
        """Return the rule that is chosen by what the user decides for.

        Raises:
            InputError: If costs are not those of the classes, or there are more than two classes
                where a threshold is asked for.
        """
        counts, classes = schema.prior_counts, ", ".join(map(repr, schema.classes))
        if self.decide_for == "balanced_accuracy":
            if own is not None:
                return own
            return (
                PriorAdjusted(counts)
                if log_weight is None
                else Rebalanced(schema.class_counts, log_weight)
            )
        if self.decide_for == "cost":
            assert self.cost is not None, "checked with the fields"
            size = schema.num_classes
            if len(self.cost) != size:
                raise InputError(
                    f"{self.name}: cost has {len(self.cost)} rows and columns, and there are "
                    f"{size} classes; give {size} rows of {size} numbers, in this order: {classes}."
                )
            return CostSensitive(torch.tensor(self.cost, dtype=torch.float64), log_weight)
        if self.decide_for == "f1" and schema.num_classes > 2:
            return MacroF1(counts, log_weight=log_weight)
        if schema.num_classes != 2:
            raise InputError(
                f"{self.name}: decide_for={self.decide_for!r} is a threshold between two classes, "
                f"and there are {schema.num_classes}: {classes}. Join them into two, or take "
                "decide_for='f1'."
            )
        return Threshold(
            schema.class_counts,
            self.decide_for,
            at_least=self.at_least,
            log_weight=log_weight,
            prior_counts=counts,
        )


def _defaults(schema: Schema) -> Defaults:
    """Return what suits this kind and amount of data; benchmarks/LOG.md says how it was found."""
    if schema.kind == "image":
        return Defaults(20, 64, 0.1, 5e-4, patience=0, clip_norm=0.0, ema=0.0, shift=2)
    if schema.kind == "text":
        return Defaults(15, 64, 2e-3, 0.01, patience=0, clip_norm=0.0, ema=0.0, shift=0)
    batch_size = min(256, max(64, 2 ** round(math.log2(schema.num_examples / 64))))
    return Defaults(150, batch_size, 2e-3, 3e-4, patience=16, clip_norm=1.0, ema=0.995, shift=0)


def _plain(cost: Any) -> Any:
    """Return rows of costs as lists of Python's numbers, which JSON can hold."""
    if isinstance(cost, np.ndarray | np.generic | Tensor):
        return cost.tolist()
    return [_plain(row) for row in cost] if isinstance(cost, list | tuple) else cost


def _check_cost(recipe: str, cost: list) -> None:
    """Refuse what is no square of costs with a free diagonal.

    Raises:
        InputError: Saying what was seen.
    """
    wanted = "a row for each true class with the cost of each decision, classes in sorted order"
    shape = [len(row) if isinstance(row, list) else "no" for row in cost]
    if any(columns != len(cost) for columns in shape) or len(cost) < 2:
        seen = f"{len(cost)} rows of {', '.join(map(str, dict.fromkeys(shape))) or 'no'} numbers"
        raise InputError(f"{recipe}: cost has {seen}; it takes {wanted}.")
    for true, row in enumerate(cost):
        for decided, value in enumerate(row):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value < math.inf:
                raise InputError(
                    f"{recipe}: cost[{true}][{decided}] is {value!r}; costs are finite numbers of "
                    "0 or more."
                )
    for place in range(len(cost)):
        if cost[place][place] != 0:
            raise InputError(
                f"{recipe}: cost[{place}][{place}] is {cost[place][place]!r}, and deciding rightly "
                "costs 0; take it off the whole row, which changes no decision."
            )
    if not any(map(any, cost)):
        raise InputError(f"{recipe}: all costs are 0, so that no decision is better than another.")
