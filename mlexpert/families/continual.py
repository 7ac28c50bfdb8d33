"""What recipes share that learn a stream: its fields, how tasks follow, what is asked at last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from mlexpert.blocks.decisions.of_seen_classes import OfSeenClasses
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.blocks.schedules import constant
from mlexpert.blocks.scores import classification_scores
from mlexpert.data.batches import in_order
from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema
from mlexpert.data.tasks.blurred_order import stream_order
from mlexpert.data.tasks.first_task import describe_first_task
from mlexpert.data.tasks.streams import Stream, stream
from mlexpert.errors import InputError
from mlexpert.families.learner_state import put_back, write_learner
from mlexpert.families.network import NetworkRecipe
from mlexpert.recipe import Encoded, Network, Parts
from mlexpert.training.method import Task
from mlexpert.training.methods.continual import ContinualMethod
from mlexpert.training.methods.task_record import TaskRecord
from mlexpert.training.plan import Data, Stage, Stretch

if TYPE_CHECKING:
    from mlexpert.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class ContinualRecipe(NetworkRecipe):
    """A recipe that is given the tasks of a stream one after another, and asked about all."""

    learns_streams: ClassVar[bool] = True
    needs_boundaries: ClassVar[bool] = False
    """Whether it acts where one task ends and the next begins."""

    scenario: Literal["class", "domain", "task"] = "class"
    """What is asked after the stream (van de Ven et al. 2022). class: which of all classes; domain:
    the same labels in every task, whichever task it is; task: which class of the task that is told
    with the row."""
    num_tasks: int | None = None
    """Tasks that the classes are dealt to. None: 5, or fewer where there are few classes; a stream
    that you hand in has its own."""
    order_seed: int | None = None
    """Deals classes, or domains, to tasks at random. None: in sorted order."""
    by: str | None = None
    """For scenario="domain": the column whose values are the domains. None: classes are dealt to
    tasks, and a label is its place within its task."""
    boundaries: bool = True
    """Whether the method is told where a task ends. False: one pass over a stream in small pieces,
    which the method cannot tell apart."""
    blur: float = 0.0
    """Share of a task's length over which its rows mix with the next task's, with
    boundaries=False."""
    keep: Literal["best", "last"] = "last"
    """Which weights a task leaves behind: the last, or those of the epoch that was best on the
    task's own validation rows, which knows nothing of what was forgotten."""

    def check(self) -> None:
        """Refuse values that cannot be meant."""
        super().check()
        self.require(self.num_tasks is None or self.num_tasks >= 1, "num_tasks", "at least 1")
        self.require(0 <= self.blur <= 1, "blur", "a share from 0 to 1")
        self.require(not self.blur or not self.boundaries, "blur", "0 with boundaries=True")
        self.require(
            self.by is None or self.scenario == "domain", "by", "None but for scenario='domain'"
        )
        one_pass = self.boundaries or self.epochs in (None, 1)
        self.require(one_pass, "epochs", "1 with boundaries=False: the stream passes once")
        able = self.boundaries or not self.needs_boundaries
        self.require(able, "boundaries", "True: this method acts where a task ends")
        told = self.boundaries or self.scenario != "task"
        self.require(told, "boundaries", "True with scenario='task', which tells the task of a row")

    def arranged(self, ds: Any) -> Stream:
        """Return the data as a stream, by the recipe's fields.

        Raises:
            InputError: If a stream is handed in that the fields contradict.
        """
        if not isinstance(ds, Stream):
            made = stream(
                ds,
                scenario=self.scenario,
                num_tasks=self.num_tasks,
                order_seed=self.order_seed,
                by=self.by,
                boundaries=self.boundaries,
                blur=self.blur,
            )
            return replace(made, may_have_fewer=self.num_tasks is None)
        for name in ("scenario", "boundaries", "blur"):
            own, given = getattr(self, name), getattr(ds, name)
            if own != given:
                raise InputError(
                    f"The stream has {name}={given!r}, and {self.name} was asked for "
                    f"{name}={own!r}: get({self.name!r}, {name}={given!r})."
                )
        return ds

    def for_more(self) -> Self:
        """Return this recipe as it reads what is learned later: a task, or those of its column."""
        return replace(self, num_tasks=None if self.by else 1, order_seed=None)

    def describe(self, train: Examples) -> Schema:
        """Return the classes of all tasks, and else what the first task's rows tell."""
        return describe_first_task(train, self.vocabulary)

    def settle(self, schema: Schema) -> Self:
        """Fill in the numbers that depend on the kind of data.

        Raises:
            InputError: If a field for images is set for other rows.
        """
        self.refuse_fields_of_images(schema)
        if schema.num_classes < 2:
            raise InputError(
                f"The stream has one class only, {schema.classes[0]!r}: there is nothing to tell "
                "apart. Fit on two or more; others can be learned one by one, by fitted.learn."
            )
        is_resnet = schema.kind == "image" and self.backbone != "mlp"
        own: dict[str, Any] = {
            "epochs": 1 if not self.boundaries else 10 if schema.kind == "tabular" else 5,
            "batch_size": 32 if is_resnet else 128,
            "lr": 0.03 if is_resnet else 1e-3,
            "weight_decay": 0.0,
            "patience": 0,
            "clip_norm": 0.0,
            "ema": 0.0,
            "shift": 0,
        }
        return replace(self, **{k: v for k, v in own.items() if getattr(self, k) is None})

    def classes(self, schema: Schema) -> TaskClasses:
        """Return the record of which classes were met, in none of which anything is met yet."""
        return TaskClasses(schema.num_classes)

    def optimizer(self, model: nn.Module, schema: Schema) -> Optimizer:
        """Return SGD for networks of convolutions, and Adam for all others."""
        assert self.lr is not None and self.weight_decay is not None, "fit settles a recipe first"
        moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if schema.kind == "image" and self.backbone != "mlp":
            return SGD(moved, lr=self.lr, weight_decay=self.weight_decay)
        return Adam(moved, lr=self.lr, weight_decay=self.weight_decay, fused=True)

    def parts(
        self,
        schema: Schema,
        network: Network,
        method: ContinualMethod,
        *,
        classes: TaskClasses,
    ) -> Parts:
        """Assemble network and method with the family's optimiser and decision.

        Args:
            schema: Of the stream.
            network: The model and its input encoding.
            method: The loss, and what else the paper does.
            classes: The record that the method keeps.
        """
        put_back(method, network.model)
        learner = {"learner": partial(write_learner, method)}
        decide = OfSeenClasses(schema.class_counts, classes)
        return Parts(
            network=replace(network, companions={**network.companions, **learner}),
            method=method,
            optimizer=self.optimizer(network.model, schema),
            schedule=constant(),
            decide=decide,
            evaluate=partial(
                _scores, decide=decide.decide, classes=classes, by_task=self.scenario == "task"
            ),
            given_task=classes.of_tasks if self.scenario != "domain" and self.boundaries else None,
            tells_task=self.scenario == "task",
        )

    def num_stretches(self, num_tasks: int) -> int:
        """Return how often training begins on other rows: for each task once."""
        return num_tasks

    def rows_of(self, tasks: Mapping[int, Tensor], targets: Tensor, number: int) -> Tensor:
        """Return the training rows (N',) of a stretch.

        Args:
            tasks: The rows of each task, in order; of a model that learns on, the new ones alone.
            targets: (N,) classes of all rows.
            number: Of the task that begins.
        """
        return tasks[number]

    def stretches(self, parts: Parts, schema: Schema, rows: Encoded) -> tuple[Stretch, ...]:
        """Return a stretch for each task, or for each piece of a stream without boundaries."""
        assert rows.train_tasks is not None and self.epochs is not None
        numbers = rows.train_tasks.unique().tolist()
        tasks = [torch.nonzero(rows.train_tasks == number).flatten() for number in numbers]
        order = None
        if not self.boundaries:
            generator = torch.Generator().manual_seed(self.seed)
            passing = stream_order(rows.train_tasks, self.blur, generator)
            tasks, order = list(passing.tensor_split(len(numbers))), in_order
        stage = Stage(self.epochs, parts.optimizer, parts.schedule, order)
        made, of_task = [], dict(zip(numbers, tasks, strict=True))
        for number in numbers[: self.num_stretches(len(tasks))]:
            own = self.rows_of(of_task, rows.train.targets, number)
            counts = torch.bincount(rows.train.targets[own], minlength=schema.num_classes)
            task = Task(number, counts)
            train, validation = rows.train.select(own), self._validation(rows, own)
            made.append(Stretch(task, train, validation, parts.evaluate, stage))
        return tuple(made)

    def after_task(self, parts: Parts, rows: Encoded) -> Callable[[Trainer, int], None]:
        """Return what writes down, after each task, how well all of them are known."""
        assert isinstance(parts.decide, OfSeenClasses), "`parts` made it"
        return TaskRecord(rows, parts.decide.classes, scenario=self.scenario)

    def _validation(self, rows: Encoded, own: Tensor) -> Data:
        """Return the validation rows of the tasks of some training rows."""
        assert rows.train_tasks is not None and rows.validation_tasks is not None
        within = torch.isin(rows.validation_tasks, rows.train_tasks[own].unique())
        return rows.validation.select(torch.nonzero(within).flatten())


def _scores(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    *,
    decide: Callable[[Tensor], Tensor],
    classes: TaskClasses,
    by_task: bool,
) -> dict[str, float]:
    """Score logits over the classes that can be meant."""
    masked = classes.of_seen(logits)
    if by_task:
        masked = classes.of_tasks(logits, classes.tasks_of(targets))
    return classification_scores(masked, targets, weights, decide=decide)
