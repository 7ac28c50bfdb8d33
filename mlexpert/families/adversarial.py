"""What recipes share that train against an attacker: the threat, the attack, and the network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from mlexpert.blocks.attacks.threat import Threat
from mlexpert.blocks.decisions.argmax import Argmax
from mlexpert.blocks.optimizers.parameter_groups import layerwise_groups
from mlexpert.blocks.schedules import Schedule, constant, warmup_linear
from mlexpert.blocks.scores import classification_scores
from mlexpert.data.batches import cut
from mlexpert.data.schema import Schema
from mlexpert.errors import InputError
from mlexpert.families.network import NetworkRecipe
from mlexpert.families.threats import declared, threat_for
from mlexpert.networks.images import image_network
from mlexpert.recipe import Network, Parts
from mlexpert.training.methods.adversarial import AdversarialMethod, Attacking

ROBUST = "robust_error"
"""What the epoch is chosen by."""


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe(NetworkRecipe):
    """A recipe whose model withstands an attacker of declared strength."""

    kinds: ClassVar = ("image", "tabular")
    average: ClassVar[float] = 0.0
    """Decay of the weights' moving average where none is asked for; 0 for none, as in papers."""

    norm: Literal["linf", "l2", "l1"] = "linf"
    """In which the attacker's change of an input is measured. Tables have linf alone."""
    epsilon: float | None = None
    """Largest change of an input. Of images in the unit of the pixel range, which is 0 to 1; of
    tables in standard deviations of each column. None: 8/255 of colour images (0.5 with l2), 0.1 of
    grey ones and of tables."""
    budgets: dict | None = None
    """Of tables: the largest change of each column in its own unit, by name; columns that are not
    named stay as they are. None: epsilon for every numeric column."""
    steps: int = 7
    """Steps of an attack in training, each a forward and a backward pass."""
    step_size: float | None = None
    """Length of a step as a share of epsilon. None: 2.5 / steps, at most 1."""
    warmup: float = 0.1
    """Fraction of training in which epsilon and learning rate rise."""
    judged: int = 1000
    """Most validation rows that are attacked after an epoch; the epoch that stands best is kept."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        pixels = "0 or more, in the unit of the pixel range, which is 0 to 1: 8/255 is 0.0314"
        self.require(self.epsilon is None or 0 <= self.epsilon < math.inf, "epsilon", pixels)
        self.require(self.steps >= 1, "steps", "at least 1")
        own = self.step_size is None or 0 < self.step_size <= 4
        self.require(own, "step_size", "a share of epsilon, above 0 and at most 4")
        self.require(0 <= self.warmup < 1, "warmup", "a fraction of 0 or more and below 1")
        self.require(self.judged >= 1, "judged", "at least 1")
        self.require(not self.sharded, "sharded", "False: an attack needs the whole model")

    def settle(self, schema: Schema) -> Self:
        """Fill in the numbers that depend on the kind of data.

        Raises:
            InputError: If a field is for other rows than these, or epsilon is not in pixel units.
        """
        self.refuse_fields_of_images(schema)
        if schema.num_classes < 2:
            raise InputError(f"{self.name} needs two classes; there is {schema.classes[0]!r} only.")
        grey = schema.image is not None and schema.image.channels == 1
        sgd = self._by_sgd(schema)
        own: dict[str, Any] = {
            "epochs": 20 if sgd else 7 if schema.kind == "image" else 60,
            "batch_size": 128,
            "lr": 0.1 if sgd else 2e-3,
            "weight_decay": 5e-4 if sgd else 0.0,
            "patience": 0,
            "clip_norm": 0.0,
            "ema": self.average,
            "shift": 2 if sgd else 0,
            "epsilon": 0.1 if schema.kind == "tabular" or grey else self._of_colours(),
            "step_size": min(1.0, 2.5 / self.steps),
        }
        settled = replace(self, **{k: v for k, v in own.items() if getattr(self, k) is None})
        settled.threat(schema)  # refuses what does not fit these rows
        return settled

    def threat(self, schema: Schema) -> Threat:
        """Return what the attacker may do to rows of this schema; called on a settled recipe."""
        assert self.epsilon is not None, "fit settles a recipe first"
        return threat_for(schema, self.norm, self.epsilon, self.budgets)

    def declared(self, schema: Schema) -> dict[str, Any]:
        """Return the threat model, which stands in every record of the model."""
        settled = self if self.epsilon is not None else self.settle(schema)
        assert settled.epsilon is not None, "it is settled"
        return {"threat": declared(schema, settled.norm, settled.epsilon, settled.budgets)}

    def network(self, schema: Schema) -> Network:
        """Return the network; of small grey images two strided convolutions."""
        if not self.is_strided(schema):
            return super().network(schema)
        return image_network(schema, backbone="strided", image_size=self.image_size)

    def attacking(self, schema: Schema) -> Attacking:
        """Return how training attacks."""
        assert self.step_size is not None, "fit settles a recipe first"
        return Attacking(
            self.threat(schema),
            self.steps,
            self.step_size,
            warmup=round(self.warmup * self.num_steps(schema)),
            judged=self.judged,
            augment=self.augmentation() if schema.kind == "image" else None,
        )

    def num_steps(self, schema: Schema) -> int:
        """Return the optimiser steps of the whole training."""
        assert self.epochs is not None and self.batch_size is not None, "fit settles it first"
        return self.epochs * len(cut(torch.empty(schema.num_examples), self.batch_size))

    def optimizer(self, model: nn.Module, schema: Schema) -> Optimizer:
        """Return SGD with Nesterov momentum for networks with BatchNorm, and AdamW for others."""
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        groups = layerwise_groups(
            model, lr=self.lr, weight_decay=self.weight_decay, layer_decay=1.0
        )
        if self._by_sgd(schema):
            return SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)
        return AdamW(groups, lr=self.lr, fused=True)

    def schedule(self, schema: Schema) -> Schedule:
        """Return warm-up and linear decay, and for tables a constant rate."""
        return constant() if schema.kind == "tabular" else warmup_linear(self.warmup)

    def parts(self, schema: Schema, network: Network, method: AdversarialMethod) -> Parts:
        """Assemble network and method; epochs are judged by robust accuracy on validation."""
        decide = Argmax(schema.class_counts)
        return Parts(
            network=network,
            method=method,
            optimizer=self.optimizer(network.model, schema),
            schedule=self.schedule(schema),
            decide=decide,
            evaluate=partial(classification_scores, decide=decide.decide),
            monitor=ROBUST,
        )

    def is_strided(self, schema: Schema) -> bool:
        """Tell whether the network is the one for small grey images."""
        stats = schema.image
        is_small = (
            stats is not None and stats.channels == 1 and max(stats.height, stats.width) <= 64
        )
        return is_small and self.backbone == "auto" and self.depth is None

    def _by_sgd(self, schema: Schema) -> bool:
        is_plain = self.is_strided(schema) or self.backbone == "mlp"
        return schema.kind == "image" and not is_plain

    def _of_colours(self) -> float:
        return {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}[self.norm]
