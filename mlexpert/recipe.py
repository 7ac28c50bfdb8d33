"""A recipe: a frozen configuration that builds the parts of one method, and is fitted on data."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.optim import Optimizer

from mlexpert.blocks.decisions.decision import DecisionRule
from mlexpert.data.batches import Order, Store
from mlexpert.data.encode import encode_targets, encode_weights
from mlexpert.data.examples import Examples, Kind
from mlexpert.data.finding import Finding
from mlexpert.data.intake import read
from mlexpert.data.leakage import audit
from mlexpert.data.schema import Schema, describe
from mlexpert.data.splits import Splits, split
from mlexpert.data.tokenizer import SMALL, Vocabulary
from mlexpert.errors import InputError
from mlexpert.training.method import Method, Task
from mlexpert.training.plan import Data, Stage, Stretch

if TYPE_CHECKING:
    from mlexpert.fitted import Fitted
    from mlexpert.training.trainer import Trainer


NO_ROLES: Mapping[str, Any] = MappingProxyType({})
"""Where no column is named."""
BY_KIND: Mapping[str, str] = MappingProxyType(
    {
        "image": "image-cls",
        "text": "text-cls",
        "tabular": "tabular-cls",
        "series": "sequence-cls or forecasting",
        "words": "sequence-tagging or seq2seq",
    }
)
"""What is to be taken for inputs of a kind, where nothing is closer."""


@dataclass(frozen=True)
class Network:
    """A model, and how a user's rows become its input.

    Attributes:
        model: Takes one tensor (see `Batch.inputs`) and returns logits (B, K).
        encode: Turns rows into a store of that tensor. Nothing is fitted here: it follows the
            schema.
        companions: Writers of the files that the model needs to be built again besides its weights,
            by folder name.
    """

    model: nn.Module
    encode: Callable[[Examples], Store]
    companions: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """What a recipe assembles; everything else is the trainer's.

    Attributes:
        network: The model and its input encoding.
        method: The loss, and what else the paper does during training.
        optimizer: Built over the model's parameters; its learning rate is the peak.
        schedule: Maps the fraction of training done, in [0, 1], to a factor on the learning rate.
        decide: Turns logits into probabilities and decisions; fitted on validation after training.
        evaluate: Maps validation logits (N, K), targets (N,) or (N, K), and the rows' weights (N,)
            or None to scalars for the learning curves. None: there are no such logits, and the
            method's `examine` scores validation by itself.
        monitor: The scalar, lower being better, by which the best epoch is chosen and training
            stops early.
        order: Draws the rows of an epoch; see `mlexpert.data.batches.Order`. None: a permutation.
        epoch_rows: Rows that `order` draws for an epoch, where that are not all of them.
        batch_tokens: Most tokens of a batch, padding included, in place of a number of rows: long
            rows then come few at a time. None: `batch_size` rows.
        stages: Further stretches of training on the same rows, after the first; each is a task of
            its own to the method.
        resample: Returns other training rows in place of the encoded ones, given the schema and the
            seed. It is only ever handed the training part.
        given_task: Maps logits and the task (N,) of each row of a stream to the logits of that
            task's classes; None where tasks share their classes, or there are none.
        tells_task: Whether the task is told when the model is asked.
    """

    network: Network
    method: Method
    optimizer: Optimizer
    schedule: Callable[[float], float]
    decide: DecisionRule
    evaluate: Callable[[Tensor, Tensor, Tensor | None], dict[str, float]] | None
    monitor: str = "calibrated_log_loss"
    order: Order | None = None
    epoch_rows: int | None = None
    batch_tokens: int | None = None
    stages: tuple[Stage, ...] = ()
    resample: Callable[[Data, Schema, int], Data] | None = None
    given_task: Callable[[Tensor, Tensor], Tensor] | None = None
    tells_task: bool = False


@dataclass(frozen=True)
class Encoded:
    """Rows as a model takes them, and the task in which each comes where they are a stream's.

    Attributes:
        train: The training rows, resampled where the recipe does that.
        validation: The validation rows.
        train_tasks: (N,) tasks of the training rows, or None.
        validation_tasks: (N',) tasks of the validation rows, or None.
    """

    train: Data
    validation: Data
    train_tasks: Tensor | None = None
    validation_tasks: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The configuration of one method. `fit` never changes it."""

    name: ClassVar[str]
    version: ClassVar[int]
    objective: ClassVar[Literal["classes", "values", "sequences"]] = "classes"
    """What is predicted of a row: classes or labels, a number, or a sequence."""
    kinds: ClassVar[tuple[Kind, ...]] = ("image", "text", "tabular")
    """The kinds of inputs that it takes."""
    others: ClassVar[Mapping[str, str]] = BY_KIND
    """The recipe to take for another kind, by kind."""
    vocabulary: ClassVar[Vocabulary] = SMALL
    """The tokenizer that is fitted on training texts."""
    takes_labels: ClassVar[bool] = False
    """Whether rows may have any number of labels, where others take one class."""
    learns_streams: ClassVar[bool] = False
    """Whether its data come as tasks, one after another."""

    seed: int = 0
    """Fixes the split, the initial weights, the order of the data and everything else that is
    drawn."""
    epochs: int | None = None
    """Passes over the training rows. None: the recipe's own choice for this kind and amount of
    data."""
    batch_size: int | None = None
    """Examples of one optimiser step. None: the recipe's own choice."""
    lr: float | None = None
    """Peak learning rate. None: the recipe's own choice."""
    weight_decay: float | None = None
    """Weight decay of parameters of two and more dimensions (decoupled in AdamW, L2 in SGD); norms
    and biases have none. None: the recipe's own choice."""
    patience: int | None = None
    """Epochs without a better validation score before training stops; 0 never stops. None: the
    recipe's own choice."""
    clip_norm: float | None = None
    """Largest gradient norm of a step; 0 does not clip. None: the recipe's own choice."""
    ema: float | None = None
    """Decay per step of the moving average of the weights that is evaluated and kept; 0 takes the
    weights themselves. None: the recipe's own choice."""
    keep: Literal["best", "last"] = "best"
    """Which weights are kept: those of the epoch with the best validation score, or the last."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass. auto: bf16 on a GPU that has it; a CPU measures, and takes it
    where it is clearly faster and as exact."""
    microbatch: int | Literal["auto"] | None = "auto"
    """Most examples of one forward pass. The step's gradient stays that of `batch_size`; only
    BatchNorm takes its statistics from each piece. auto: what fits in memory, the whole batch where
    it does. None: the whole batch, unasked."""
    channels_last: bool | Literal["auto"] = "auto"
    """Keep images channels-last in memory; nothing to other inputs. auto: with half precision on a
    GPU; a CPU measures, and does so where it is clearly faster."""
    compile: bool = False
    """Compile the model with torch.compile; the first steps take longer."""
    sharded: bool = False
    """Spread weights, gradients and optimiser state over the processes (FSDP2), for a model that
    does not fit on one device; needs torchrun."""
    validation: float = 0.15
    """Share of the rows held out for validation, where the data brings no validation split."""
    test: float = 0.15
    """Share of the rows sealed for the final test, where the data brings no test split."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):
            value = _checked(self.name, item.name, getattr(self, item.name), hints[item.name])
            object.__setattr__(self, item.name, value)
        self.check()

    def check(self) -> None:
        """Refuse values that cannot be meant; recipes with fields of their own extend it.

        Raises:
            InputError: Naming the field, its value and what is allowed.
        """
        for name in ("epochs", "batch_size", "microbatch"):
            value = getattr(self, name)
            self.require(value in (None, "auto") or value >= 1, name, "at least 1")
        for name in ("lr", "weight_decay", "patience", "clip_norm"):
            value = getattr(self, name)
            self.require(value is None or 0 <= value < math.inf, name, "a number of 0 or more")
        self.require(0 <= self.seed < 2**63, "seed", "0 or more and below 2**63")
        self.require(self.ema is None or 0 <= self.ema < 1, "ema", "0 or more and below 1")
        self.require(0 < self.validation < 1, "validation", "a share between 0 and 1")
        self.require(0 <= self.test < 1, "test", "a share of 0 or more and below 1")
        self.require(self.validation + self.test < 1, "test", "small enough to leave training rows")
        largest = self.batch_size or math.inf
        fits = not isinstance(self.microbatch, int) or self.microbatch <= largest
        self.require(fits, "microbatch", f"at most batch_size={self.batch_size}")

    def require(self, holds: bool, name: str, allowed: str) -> None:
        """Raise an `InputError` that names the field unless `holds`."""
        if not holds:
            raise InputError(
                f"{self.name}: {name}={getattr(self, name)!r}; it has to be {allowed}."
            )

    def config(self) -> dict[str, Any]:
        """Return the fields as a plain dict that JSON can hold."""
        return dataclasses.asdict(self)

    def accept(self, schema: Schema) -> None:
        """Refuse data that the recipe is not for.

        Raises:
            InputError: If the inputs are of another kind, or rows have several labels.
        """
        if schema.kind not in self.kinds:
            raise InputError(
                f"{self.name} takes {' or '.join(self.kinds)} inputs, and these rows are "
                f"{schema.kind}; take {self.others[schema.kind]}, or name other columns with "
                "inputs=."
            )
        if schema.objective == "multilabel" and not self.takes_labels:
            raise InputError(
                f"{self.name} predicts one class of a row, and these rows have several labels; "
                f"take {BY_KIND[schema.kind]}."
            )

    def declared(self, schema: Schema) -> dict[str, Any]:
        """Return what every record of a model says of it besides; for most, nothing."""
        return {}

    def arranged(self, ds: Any) -> Any:
        """Return the data as this recipe reads them: for most, as they are."""
        return ds

    def read(self, ds: Any, roles: Mapping[str, Any] = NO_ROLES) -> dict[str, Examples]:
        """Return a user's data as examples, undivided or by the user's own split.

        Args:
            ds: The data.
            roles: The arguments of `fit` that name columns, by their names there.
        """
        assert self.objective != "sequences", "recipes of sequences read their data themselves"
        return read(ds, objective=self.objective, **roles)

    def divide(self, parts: Mapping[str, Examples]) -> Splits:
        """Return train, validation and a sealed test, of which the user may have brought some."""
        return split(parts, validation=self.validation, test=self.test, seed=self.seed)

    def audit(self, splits: Splits) -> list[Finding]:
        """Return what was found when train was compared with what it is judged by."""
        return audit(splits)

    def encode(self, network: Network, examples: Examples, schema: Schema) -> Data:
        """Return rows as the trainer takes them."""
        targets = encode_targets(examples.targets, schema)
        return Data(network.encode(examples), targets, encode_weights(examples.weights))

    def describe(self, train: Examples) -> Schema:
        """Return what is known of the training rows, and may be built upon."""
        return describe(train, self.vocabulary)

    def settle(self, schema: Schema) -> Recipe:
        """Return this recipe with every None filled in for the data at hand."""
        raise NotImplementedError

    def build(self, schema: Schema) -> Parts:
        """Assemble the parts for data of this schema; called on a settled recipe."""
        raise NotImplementedError

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return what is trained on, one stretch after the other.

        Here every stage is a stretch on the same rows.

        Args:
            parts: What `build` returned.
            schema: Of the training rows.
            rows: They, and those of validation.
        """
        assert self.epochs is not None, "a recipe is settled before it trains"
        first = Stage(
            self.epochs, parts.optimizer, parts.schedule, parts.order, rows=parts.epoch_rows
        )
        counts = torch.tensor(schema.class_counts)
        return tuple(
            Stretch(
                Task(number, counts),
                rows.train,
                rows.validation,
                stage.evaluate or parts.evaluate,
                stage,
            )
            for number, stage in enumerate((first, *parts.stages))
        )

    def after_task(self, parts: Parts, rows: Encoded) -> Callable[[Trainer, int], None] | None:
        """Return what is called after each stretch with its number, and before the first with -1.

        Here nothing is.
        """
        return None

    def fit(
        self,
        ds: Any,
        *,
        target: str | list[str] | None = None,
        inputs: str | list[str] | None = None,
        group: str | None = None,
        time: str | None = None,
        subgroups: str | list[str] | None = None,
        sample_weight: str | ArrayLike | None = None,
        folds: int | None = None,
        run_dir: str | Path | None = None,
        fresh: bool = False,
        leakage: Literal["refuse", "report"] = "refuse",
        criteria: Mapping[str, float] | None = None,
        track: Literal["tensorboard"] | None = None,
        profile: bool = False,
        progress: bool = True,
    ) -> Fitted:
        """Split, audit, train, calibrate and record; see `mlexpert.fitting.fit.fit`."""
        # The one import that points upwards: `fit` is where a user looks for it, and its work
        # stands on everything.
        from mlexpert.fitting.fit import fit

        return fit(
            self,
            ds,
            target=target,
            inputs=inputs,
            group=group,
            time=time,
            subgroups=subgroups,
            sample_weight=sample_weight,
            folds=folds,
            run_dir=run_dir,
            fresh=fresh,
            leakage=leakage,
            criteria=criteria,
            track=track,
            profile=profile,
            progress=progress,
        )


def _checked(recipe: str, name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type that the field declares, or refuse it by name."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    options = typing.get_args(hint) if is_union else (hint,)
    if isinstance(value, np.generic):  # from np.logspace, say
        value = value.item()
    for option in options:
        if typing.get_origin(option) is Literal and value in typing.get_args(option):
            return value
        if option in (int, float, str, bool, dict, list, type(None)) and type(value) is option:
            return value
    if float in options and type(value) is int:
        return float(value)
    if int in options and type(value) is float and value.is_integer():
        return int(value)
    wanted = " or ".join(
        "None"
        if option is type(None)
        else ", ".join(map(repr, typing.get_args(option)))
        if typing.get_origin(option) is Literal
        else option.__name__
        for option in options
    )
    raise InputError(f"{recipe}: {name}={value!r} ({type(value).__name__}); it takes {wanted}.")
