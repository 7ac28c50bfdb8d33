"""A stream: data whose rows come task after task, to be learned in that order.

Paper: van de Ven, Tuytelaars and Tolias 2022, "Three types of incremental learning": in the
scenario "task" the task of a row is told when its class is asked for, in "class" it is not, and in
"domain" all tasks have the same classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd

from mlexpert.data.arrays import is_sequence
from mlexpert.data.columns import is_instance
from mlexpert.data.nearest import did_you_mean
from mlexpert.errors import InputError

if TYPE_CHECKING:
    from mlexpert.data.examples import Examples

Scenario = Literal["class", "domain", "task"]
NUM_TASKS = 5


class View(Protocol):
    """How the tasks of a stream show the same images, each in a way of its own."""

    def __call__(self, stack: np.ndarray, task: int) -> np.ndarray:
        """Return images (N, H, W, C), uint8 or float in [0, 1], as a task shows them."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Stream:
    """Data in tasks, which `fit` of a recipe for streams takes; `stream(...)` makes one.

    Nothing is read, and no data is refused, before it is needed. `len(stream)` is the number of
    tasks; `stream[t]` is the data of task t, counted from 0, in memory, and `fit` takes it too.

    Attributes:
        data: The data that is divided into tasks; None where each task has data of its own.
        sets: The data sets of the tasks, where the user gave them one by one; else None.
        scenario: "class", "domain" or "task".
        num_tasks: Number of tasks.
        order_seed: Of the order of classes (or of the values of `by`); None where it is sorted.
        by: The column whose values are the tasks, or None.
        boundaries: Whether the method is told when a task ends.
        blur: Share of a task's length over which neighbouring tasks mix, in [0, 1].
        target: The column of the labels, where it is named here.
        inputs: The input columns, where they are named here.
        view: How each task shows the same images, or None.
        may_have_fewer: Whether data of fewer classes may make fewer tasks: nobody named a number.
    """

    data: Any
    sets: tuple[Any, ...] | None
    scenario: Scenario
    num_tasks: int
    order_seed: int | None = None
    by: str | None = None
    boundaries: bool = True
    blur: float = 0.0
    target: str | None = None
    inputs: str | list[str] | None = None
    view: View | None = None
    may_have_fewer: bool = False

    def __len__(self) -> int:
        return self.num_tasks

    def __getitem__(self, task: int) -> Any:
        """Return the data of a task: the user's own where there is a data set for each task.

        Otherwise a pair (X, y) of images and labels, or a DataFrame of the inputs and the target;
        a dict of such by split where the user brought splits.

        Raises:
            IndexError: There are not so many tasks.
            InputError: The data cannot be used as it is.
        """
        if not -self.num_tasks <= task < self.num_tasks:
            raise IndexError(f"there are {self.num_tasks} tasks, and no task {task}")
        task %= self.num_tasks
        if self.sets is not None:
            return self.sets[task]
        found = {
            part: _as_data(rows.select(np.flatnonzero(rows.tasks == task)))
            for part, rows in self._rows.items()
        }
        return found.get("all", found)

    def __iter__(self) -> Iterator[Any]:
        return (self[task] for task in range(self.num_tasks))

    def __repr__(self) -> str:
        shown = {"order_seed": self.order_seed, "by": self.by, "view": self.view}
        told = [f"{name}={value!r}" for name, value in shown.items() if value is not None]
        if not self.boundaries:
            told += ["boundaries=False", f"blur={self.blur:g}"]
        kind = type(self.data if self.sets is None else self.sets[0]).__name__
        source = f"a {kind}" if self.sets is None else f"data sets such as a {kind}"
        named = ", ".join([f"{self.num_tasks} tasks", f"scenario={self.scenario!r}", *told])
        return f"<Stream of {named}, from {source}>"

    @cached_property
    def _rows(self) -> dict[str, Examples]:
        from mlexpert.data.intake import read  # which reads streams, and so knows this module

        return read(self)


def stream(
    ds: Any,
    *,
    scenario: Scenario = "class",
    num_tasks: int | None = None,
    order_seed: int | None = None,
    by: str | None = None,
    boundaries: bool = True,
    blur: float = 0.0,
    target: str | None = None,
    inputs: str | list[str] | None = None,
) -> Stream:
    """Declare data to be a stream of tasks.

    In the scenarios "class" and "task" the classes are dealt to the tasks in the order of their
    labels, as evenly as possible: the first tasks get one more where it does not come out even. In
    "domain" they are too, and a row's label becomes the position of its class within its task; or
    `by` names a column whose values, in order, are the tasks, and labels stay.

    Args:
        ds: Whatever `fit` takes; a split that it brings is kept for each task. Or a list of such,
            one for each task, or an iterator over such.
        scenario: "class", "domain" or "task".
        num_tasks: None: 5, or as many as there are data sets, or values of `by`.
        order_seed: Deal the classes (or take the values of `by`) in an order drawn from it.
        by: In the scenario "domain", the column of the tasks; it is no input then.
        boundaries: Whether the method is told when a task ends. If not, the rows come once.
        blur: Without boundaries, the share of a task's length over which neighbouring tasks mix, in
            [0, 1]: see `mlexpert.data.tasks.blurred_order`.
        target: The column of the labels, as in `fit`, which may name it instead.
        inputs: The input columns, as in `fit`, which may name them instead.

    Raises:
        InputError: An argument is refused, or there are not as many data sets as tasks. Data is
            refused when it is read.

    Example:
        >>> pairs = stream((np.zeros((20, 3)), np.arange(20) % 4), num_tasks=2)
        >>> [sorted(set(task["y"])) for task in pairs]
        [[0, 1], [2, 3]]
    """
    check_stream(scenario, num_tasks, boundaries, blur)
    if isinstance(ds, Stream):
        raise InputError(f"this is a stream already, {ds!r}: give the data that it is made from")
    if order_seed is not None and not _is_whole(order_seed, 0):
        raise InputError(f"order_seed={order_seed!r}; it takes a whole number from 0, or None")
    sets = _sets_of(ds, num_tasks)
    if by is not None:
        _check_by(by, scenario, sets)
        num_tasks = _count_values(ds, by, num_tasks, target)
    if sets is not None and order_seed is not None:
        raise InputError(
            "order_seed= orders the classes of one data set; a list has an order of its own"
        )
    return Stream(
        data=ds if sets is None else None,
        sets=sets,
        scenario=scenario,
        num_tasks=len(sets) if sets is not None else num_tasks or NUM_TASKS,
        order_seed=order_seed,
        by=by,
        boundaries=boundaries,
        blur=float(blur),
        target=target,
        inputs=inputs,
    )


def check_stream(scenario: str, num_tasks: int | None, boundaries: bool, blur: float) -> None:
    """Raise an error where what is said of a stream makes no sense.

    Raises:
        InputError: It does not.
    """
    known = get_args(Scenario)
    if scenario not in known:
        hint = did_you_mean(str(scenario), known)
        raise InputError(f"scenario={scenario!r}; it takes 'class', 'domain' or 'task'.{hint}")
    if num_tasks is not None and not _is_whole(num_tasks, 1):
        raise InputError(f"num_tasks={num_tasks!r}; it takes a whole number from 1")
    if not isinstance(boundaries, bool):
        raise InputError(f"boundaries={boundaries!r}; it takes True or False")
    if isinstance(blur, bool) or not isinstance(blur, int | float) or not 0 <= blur <= 1:
        raise InputError(f"blur={blur!r}; it is a share of a task's length, from 0 to 1")
    if blur and boundaries:
        raise InputError(
            f"blur={blur:g} mixes neighbouring tasks, so there is no boundary that could be told: "
            "set boundaries=False, or blur=0"
        )


def _is_whole(value: Any, lowest: int) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and value >= lowest


def _sets_of(ds: Any, num_tasks: int | None) -> tuple[Any, ...] | None:
    """Return the data sets of the tasks, or None where there is one for all.

    Raises:
        InputError: There are none, or not as many as there are tasks.
    """
    if isinstance(ds, Iterator):
        sets = tuple(ds) if num_tasks is None else tuple(islice(ds, num_tasks))
    elif isinstance(ds, list) or (isinstance(ds, tuple) and not _is_pair(ds)):
        sets = tuple(ds)
    else:
        return None
    if not sets:
        raise InputError("there is no data set in it: a stream needs one for each task")
    if num_tasks is not None and len(sets) != num_tasks:
        found = "the stream ended after" if isinstance(ds, Iterator) else "there are"
        raise InputError(
            f"{found} {len(sets)} data set(s), and num_tasks={num_tasks}: give one for each "
            "task, or leave num_tasks= out"
        )
    nested = next((number for number, one in enumerate(sets) if isinstance(one, Stream)), None)
    if nested is not None:
        raise InputError(f"data set {nested} is a stream itself: give the data of one task")
    return sets


def _is_pair(ds: tuple[Any, ...]) -> bool:
    """Tell a pair (X, y) from two data sets."""
    if len(ds) != 2:
        return False
    if all(isinstance(one, pd.DataFrame) for one in ds):
        return list(ds[0].columns) != list(ds[1].columns)
    return not all(_is_set(one) for one in ds)


def _is_set(one: Any) -> bool:
    """Return whether a value is a data set that can be neither X nor y."""
    if isinstance(one, tuple) and len(one) == 2:
        return is_sequence(one[0]) or isinstance(one[0], pd.DataFrame)
    torch_set = is_instance(one, "torch.utils.data", "Dataset")
    hf_set = is_instance(one, "datasets", "Dataset") or is_instance(
        one, "datasets", "IterableDataset"
    )
    return isinstance(one, Mapping | str | Path) or torch_set or hf_set


def _check_by(by: str, scenario: Scenario, sets: tuple[Any, ...] | None) -> None:
    if scenario != "domain":
        raise InputError(
            f"by={by!r} makes tasks that share their classes, which is scenario='domain' and not "
            f"{scenario!r}"
        )
    if sets is not None:
        raise InputError(f"by={by!r} divides one data set, and a list is divided already")


def _count_values(ds: Any, by: str, num_tasks: int | None, target: str | None) -> int:
    """Return the number of tasks that the values of a column make."""
    from mlexpert.data.sources import load
    from mlexpert.data.tasks.rows import values_of

    columns = next(iter(load(ds, target=target, for_prediction=False).values()))
    count = len(np.unique(values_of(columns, by)))
    if num_tasks is not None and num_tasks != count:
        raise InputError(
            f"column {by!r} has {count} values, and num_tasks={num_tasks}: its values are the "
            "tasks, so leave num_tasks= out"
        )
    return count


def _as_data(rows: Examples) -> Any:
    """Return rows of one task in memory: a pair of images and labels, or a frame."""
    inputs, name = rows.inputs, str(rows.target_name)
    if rows.kind == "tabular":
        return inputs.reset_index(drop=True).assign(**{name: rows.targets})
    if rows.kind == "text":
        return pd.DataFrame({rows.input_names[0]: inputs, name: rows.targets})
    stack = inputs.stack()
    if stack is not None:
        return stack, rows.targets
    images = [inputs.decode(i) for i in range(len(inputs))]
    alike = len({image.shape for image in images}) == 1
    return (np.stack(images) if alike else images), rows.targets
